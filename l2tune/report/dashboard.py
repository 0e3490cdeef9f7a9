"""The Optuna dashboard: the verdict as the study's note, the figures as custom plots, and a server."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import optuna

from l2tune.errors import UserError
from l2tune.report.figures import gap_figure, tradeoff_figure
from l2tune.strength import show, weight_decay
from l2tune.tradeoff import Tradeoff


def publish(study: optuna.Study, tradeoff: Tradeoff) -> None:
    """Show the verdict and the figures in the dashboard; calling it again replaces them."""
    from optuna_dashboard import save_note, save_plotly_graph_object, set_objective_names

    numbers = (
        f"| | λ | weight decay |\n|---|---|---|\n"
        f"| best | {show(tradeoff.best_lambda)} | {weight_decay(tradeoff.best_lambda):.3g} |\n"
        f"| one-SE | {show(tradeoff.one_se_lambda)} | {weight_decay(tradeoff.one_se_lambda):.3g} |\n"
    )
    save_note(study, f"{tradeoff.verdict}\n\n{numbers}")
    set_objective_names(study, [f"validation {tradeoff.record.metric}"])
    for name, figure in (("tradeoff", tradeoff_figure(tradeoff)), ("gap", gap_figure(tradeoff))):
        if figure is not None:
            save_plotly_graph_object(study, figure, graph_object_id=f"l2tune-{name}")


def serve(storage: optuna.storages.BaseStorage, artifacts: str, *, port: int = 8080) -> None:
    """Serve the dashboard on 127.0.0.1 until Ctrl-C.

    Raises:
        UserError: The port is taken.
    """
    from wsgiref.simple_server import WSGIServer, make_server

    from optuna.artifacts import FileSystemArtifactStore
    from optuna_dashboard import wsgi

    folder = Path(artifacts)
    store: Any = FileSystemArtifactStore(str(folder)) if folder.is_dir() else None
    application = wsgi(storage, artifact_store=store)
    try:
        server: WSGIServer = make_server("127.0.0.1", port, application)
    except (OSError, OverflowError) as error:
        raise UserError(f"{port} cannot be used ({error})", "--port", "give another port") from None
    print(f"Optuna dashboard on http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
    with contextlib.closing(server.socket), contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
