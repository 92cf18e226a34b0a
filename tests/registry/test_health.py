"""The sign of life of a registry: really asked, wherever it is."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from appraise.errors import RegistryError
from appraise.registry.health import sign_of_life


def test_a_file_is_asked_whatever_its_name_and_made_by_nobody(tmp_path):
    import sqlite3
    from contextlib import closing

    file = tmp_path / "a ?#%41 name.db"
    with pytest.raises(RegistryError, match="unable to open"):
        sign_of_life(f"sqlite:///{file}", seconds=1)
    assert not file.exists()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("create table model_versions (version integer)")
        connection.execute("insert into model_versions values (1), (2)")
        connection.commit()
    assert sign_of_life(f"sqlite:///{file}", seconds=1) == "2 versions are registered"
    file.write_bytes(b"garbage" * 1000)
    with pytest.raises(RegistryError, match="not a database"):
        sign_of_life(f"sqlite:///{file}", seconds=1)


def test_a_database_is_asked_for_its_versions_and_not_only_for_a_connection(make_database):
    address = make_database(tables=False)
    with pytest.raises(RegistryError, match="model_versions"):
        sign_of_life(address, seconds=20)
    from sqlalchemy import create_engine, text

    engine = create_engine(address)
    with engine.begin() as connection:
        connection.execute(text("create table model_versions (version integer)"))
        connection.execute(text("insert into model_versions values (1)"))
    assert sign_of_life(address, seconds=20) == "1 version is registered"
    with engine.begin() as holder:
        holder.execute(text("lock table model_versions"))
        with pytest.raises(RegistryError, match="timeout"):
            sign_of_life(address, seconds=1)
    engine.dispose()


def test_a_database_that_is_away_is_named_without_its_password():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(RegistryError, match="does not answer") as raised:
        sign_of_life(f"postgresql://user:secret@127.0.0.1:{port}/mlflow", seconds=1)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b"{}", None),
        (200, b"<html>", "does not answer"),
        (200, b"[]", "no MLflow server"),
        (401, b"", "401 Unauthorized"),
        (500, b"", "500 Internal Server Error"),
    ],
)
def test_a_server_is_asked_to_search_as_mlflows_client_would(monkeypatch, status, body, said):
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Authorization"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args):
            return None

    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "let-me-in")
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        try:
            if said is None:
                assert sign_of_life(address, seconds=20) == "it searched its versions"
            else:
                with pytest.raises(RegistryError, match=said):
                    sign_of_life(address, seconds=20)
        finally:
            server.shutdown()
            thread.join()
    assert asked == [("/api/2.0/mlflow/model-versions/search?max_results=1", "Bearer let-me-in")]
