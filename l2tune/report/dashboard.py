"""The Optuna dashboard: the verdict as the study's note, the figures as custom plots, artifacts, and a server."""

from __future__ import annotations

import contextlib
import re
import sys
import webbrowser
from collections.abc import Collection, Sequence
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact

from l2tune.analysis.estimates import Estimates
from l2tune.analysis.findings import findings, in_parts
from l2tune.errors import UserError
from l2tune.optuna_internals import note_handle
from l2tune.penalty.strength import format_lambda
from l2tune.records.observations import strength_of
from l2tune.records.study import name_objectives
from l2tune.report.cards import on_card
from l2tune.report.figures import drawn
from l2tune.report.labels import for_markdown, has_own, own_name, own_written
from l2tune.report.own_pages_only import OwnPagesOnly
from l2tune.report.pictures import STILL

ARTIFACTS = "runs/artifacts"

LARGEST = 200_000
"""Letters of a figure's JSON: the dashboard sends all figures with every look at a study."""

_ARTIFACT = re.compile(r"[0-9a-f-]{36}")
"""Names that Optuna gives to files; what else a storage tells may lead elsewhere."""
_SIGNATURE = "*told by l2tune; a note of yours instead is left alone*"
_IN_TERMINAL = ("www-browser", "links", "elinks", "lynx", "w3m")
"""Browsers that would take the terminal, where the dashboard tells what it serves."""

_HEADING = "### l2tune"
"""How notes of earlier versions begin."""


def artifacts_beside(folder: str) -> Path:
    """Where the artifacts of a search lie: runs/artifacts for runs/STUDY, else in the folder that was asked for."""
    path = Path(folder)
    return path.parent / "artifacts" if path.parent == Path("runs") else path / "artifacts"


def publish(study: optuna.Study, tradeoff: Estimates, figures: Collection[str] = STILL) -> None:
    """Show verdict and figures in the dashboard; calling it again replaces them. Notes of the user's own are left.

    Where there is nothing to draw any more, a figure of before stays.

    Args:
        figures: Names of those to bring up to date.
    """
    from optuna_dashboard import save_plotly_graph_object

    _note(study, _verdict(tradeoff))
    if tradeoff.record.trained_by != "objective":  # by its own names the metric of a user's own study is known
        name_objectives(study, [f"validation {tradeoff.metric}"])
    for name in figures:
        figure = drawn(tradeoff, name)
        if figure is not None:
            figure = on_card(figure)
            if len(figure.to_json()) <= LARGEST:
                save_plotly_graph_object(study, figure, graph_object_id=f"l2tune-{name}")
    _note_trials(study, tradeoff)


def keep_artifacts(study: optuna.Study, files: Sequence[Path], folder: str | Path = ARTIFACTS) -> None:
    """Put files into the artifact store of the dashboard; a file of the same name is replaced.

    Raises:
        OSError: A file cannot be written.
    """
    base = Path(folder)
    base.mkdir(parents=True, exist_ok=True)
    store = FileSystemArtifactStore(str(base))
    metas = get_all_artifact_meta(study)
    known = {meta.filename: meta.artifact_id for meta in metas if _ARTIFACT.fullmatch(str(meta.artifact_id))}
    for path in files:
        if path.name in known and (base / known[path.name]).is_file():
            with path.open("rb") as file:
                store.write(known[path.name], file)
        else:
            upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=study)


def _note(study_or_trial: Any, text: str) -> None:
    """Save a note of ours, unless there is one of the user's; an empty one takes ours away."""
    from optuna_dashboard import get_note, save_note

    present, text = get_note(study_or_trial), f"{text}\n\n{_SIGNATURE}" if text else ""
    ours = present.startswith(_HEADING) or present.rstrip().endswith(_SIGNATURE)
    if text != present and (not present or ours):
        save_note(study_or_trial, text)


def _verdict(t: Estimates) -> str:
    """The answer first, what else the verdict says as a list, and the strengths as a table."""
    answer, *rest = in_parts(tuple(findings(t)))
    listed = "\n".join(f"- {for_markdown(text)}" for text in rest)
    return "\n\n".join(part for part in (f"**{for_markdown(answer)}**", listed, _strengths(t)) if part)


def _strengths(t: Estimates) -> str:
    """λ_best and λ_1se as a table, with the study's own number; empty while there are none."""
    if t.curve is None or not len(t.record.observations.tried):
        return ""
    parameter = t.record.parameter
    head = f" {for_markdown(own_name(parameter))} |" if has_own(parameter) else ""
    rows = [f"| | λ |{head} folds |", f"|---|---|---|{'---|' if head else ''}"]
    for name, strength in (("best", t.best_lambda), ("one-SE", t.one_se_lambda)):
        run = t.row(strength)
        folds = "by the curve" if run is None else f"{int(run['folds'])} of {t.record.folds}"
        own = f" {own_written(parameter, strength)} |" if head else ""
        rows.append(f"| {name} | {format_lambda(strength)} |{own} {folds} |")
    return "\n".join(rows)


def _note_trials(study: optuna.Study, t: Estimates) -> None:
    """Mark the trials of λ_best and λ_1se; take the mark off those that were it before."""
    record = t.record
    named = {t.one_se_lambda: "one-SE λ: the strongest that is as good as the best", t.best_lambda: "best λ"}
    held = tuple(record.others.items())
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
        strength = strength_of(trial, record.parameter)
        if strength is None:
            continue
        meaning = named.get(strength) if record.parameter.others(trial.params) == held else None
        own = f", {own_name(record.parameter)} {own_written(record.parameter, strength)}"
        own = for_markdown(own) if has_own(record.parameter) else ""
        text = f"**{meaning}** (λ = {format_lambda(strength)}{own})" if meaning else ""
        _note(note_handle(study, trial), text)


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection, so that no slow one keeps others waiting; they end with the process."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone or does not answer."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    timeout = 60.0
    """Seconds until a connection that sends or takes nothing is closed."""


def serve(
    storage: optuna.storages.BaseStorage,
    artifacts: str,
    *,
    port: int = 8080,
    study: int | None = None,
    browse: bool = False,
) -> None:
    """Serve the dashboard on 127.0.0.1 until Ctrl-C, to its own pages only.

    Args:
        artifacts: Folder where searches keep them.
        study: Number, in the storage, of the one to show first; by default all.
        browse: Open the browser there.

    Raises:
        UserError: The port is taken.
    """
    from optuna_dashboard import wsgi

    store: Any = FileSystemArtifactStore(artifacts) if Path(artifacts).is_dir() else None
    pages = wsgi(storage, artifact_store=store)
    try:
        server = make_server("127.0.0.1", port, pages, _Server, _Handler)
    except (OSError, OverflowError) as error:
        raise UserError(f"{port} cannot be used ({error})", "--port", "give another port") from None
    server.set_app(OwnPagesOnly(pages, server.server_port))
    address = f"http://127.0.0.1:{server.server_port}/" + ("" if study is None else f"dashboard/studies/{study}")
    print(f"Optuna dashboard on {address} (Ctrl-C ends it)", flush=True)
    with contextlib.closing(server.socket), contextlib.suppress(KeyboardInterrupt):
        if browse:
            Thread(target=_browse, args=(address,), daemon=True).start()  # one in the foreground holds up nobody
        server.serve_forever()


def _browse(address: str) -> None:
    """Open a browser with a window of its own; say so where there is none."""
    try:
        browser = webbrowser.get()
        if getattr(browser, "basename", "") not in _IN_TERMINAL and browser.open(address):
            return
    except (webbrowser.Error, OSError):
        pass
    print(f"l2tune: --open: no browser can be opened here; open {address} in yours", file=sys.stderr, flush=True)
