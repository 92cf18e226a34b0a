"""A peer of `serving.py`: MLServer's CatBoost runtime for a regressor; its own is for classifiers."""

from __future__ import annotations

from catboost import CatBoostRegressor
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, NumpyRequestCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class Regressor(MLModel):
    """A CatBoost regressor behind the Open Inference Protocol."""

    async def load(self) -> bool:
        """Load the file that the settings name."""
        self._model = CatBoostRegressor().load_model(await get_model_uri(self._settings))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Value the rows of a request."""
        prediction = self._model.predict(self.decode_request(payload, default_codec=NumpyRequestCodec))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode("predict", prediction)])
