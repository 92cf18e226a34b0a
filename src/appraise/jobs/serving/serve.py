"""Serve: from registered models to a REST service in one or several processes."""

from __future__ import annotations

from collections.abc import Callable

from appraise.errors import SettingsError
from appraise.jobs.batches import carrying_out
from appraise.jobs.db import prepared
from appraise.jobs.keys import followed
from appraise.jobs.loading import loading
from appraise.jobs.serving.address import is_loopback, listening
from appraise.jobs.serving.handover import logs_handed_over
from appraise.jobs.serving.plan import ServePlan, Serving
from appraise.jobs.serving.supervisor import Supervisor
from appraise.jobs.serving.worker import allow_many_files, serve_alone


def serve(plan: ServePlan, *, announce: Callable[[Serving], None]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        plan: how.
        announce: is called once, when requests are taken.

    Raises:
        SettingsError: the address cannot be listened on, or other machines would be served without keys.
        UnknownModelError, RegistryError, BundleError: there is no model to serve.
        LogError: estimates cannot be recorded.
    """
    with followed(plan.key_place):
        has_keys = bool(plan.keys.read())
        if not has_keys and not plan.insecure and not is_loopback(plan.host):
            raise SettingsError(
                f"{plan.host} can be reached from other machines, and there is no API key",
                hint="make one with appraise keys create --name web, or serve without: --insecure",
            )
        _serve(plan, announce)


def _serve(plan: ServePlan, announce: Callable[[Serving], None]) -> None:
    allow_many_files()
    with listening(plan.host, plan.port) as listener:
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if plan.workers == 1:
            with logs_handed_over(), prepared(plan.database), loading(plan.loading), carrying_out(plan.batches):
                serve_alone(plan, listener, url, announce)
        else:
            with prepared(plan.database), loading(plan.loading), carrying_out(plan.batches):
                Supervisor(plan, listener, url, announce).run()
