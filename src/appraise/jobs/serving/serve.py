"""Serve: from registered models to a REST service in one or several processes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from appraise.errors import SettingsError
from appraise.jobs.keys import followed
from appraise.jobs.serving.address import check_open, listening
from appraise.jobs.serving.handover import logs_handed_over
from appraise.jobs.serving.plan import ServePlan, Serving
from appraise.jobs.serving.supervisor import Supervisor
from appraise.jobs.serving.worker import allow_many_files, serve_alone
from appraise.jobs.starting import serves_at, service_at, told_by


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
        check_open(plan.host, plan.keys.read(), insecure=plan.insecure)
        _serve(plan, announce)


@contextmanager
def _own_address(plan: ServePlan) -> Iterator[socket.socket]:
    """A bound socket; where this home's own service has the address, the error says so."""
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(listening(plan.host, plan.port))
        except SettingsError as error:
            own = service_at(plan.home)
            service = own.running()
            if service is None or service.pid == os.getpid() or not serves_at(plan.port, told_by(own.output)):
                raise
            raise SettingsError(
                f"{plan.host}:{plan.port} is where this home's own service runs (process {service.pid})",
                hint="end it with appraise down, or choose another port with --port",
            ) from error
        yield listener


def _serve(plan: ServePlan, announce: Callable[[Serving], None]) -> None:
    allow_many_files()
    with _own_address(plan) as listener:
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        if plan.workers == 1:
            with logs_handed_over():
                serve_alone(plan, listener, url, announce)
        else:
            Supervisor(plan, listener, url, announce).run()
