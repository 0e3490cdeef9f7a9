"""`l2tune fit`: the final network, trained on all training images."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from l2tune.commands.flags import number

FIT_SCHEMA = 1


def fit_command(
    study: Annotated[str, Parameter(help="Name of the study")],
    /,
    *,
    one_se: Annotated[
        bool, Parameter(help="Use λ_1se, the strongest λ that is as good, not λ_best", negative=())
    ] = False,
    strength: Annotated[float | None, Parameter(name="--lambda", help="Use this λ instead", converter=number)] = None,
    storage: Annotated[str, Parameter(help="Storage of the search", env_var="L2TUNE_STORAGE")] = "sqlite:///l2tune.db",
    out: Annotated[str | None, Parameter(help="Folder for the network (default: runs/STUDY)")] = None,
    data_root: Annotated[str | None, Parameter(help="Where torchvision's data sets lie")] = None,
    device: Annotated[str, Parameter(help="auto (CUDA when there is one), cpu, cuda, cuda:1")] = "auto",
) -> None:
    """Train on all training images with the chosen λ, score on the test images, save model.safetensors and fit.json.

    The settings are those of the study. The saved state dict loads into the same model; the images' channels are
    normalized with the mean and standard deviation in fit.json.
    """
    import contextlib
    import json
    from pathlib import Path

    from l2tune.assemble import assemble_again, check_trainable, versions
    from l2tune.commands.interrupts import lasting_interrupts
    from l2tune.commands.results import check_folder, check_room, unwritten
    from l2tune.errors import UserError
    from l2tune.given import results_folder
    from l2tune.penalty.strength import NO_WEIGHT_DECAY, format_lambda, weight_decay
    from l2tune.process import end_loading
    from l2tune.records.comparison import comparison_studies, is_comparison
    from l2tune.records.tables import read_study
    from l2tune.search.storage import load_study, open_storage
    from l2tune.settings import HIGHEST_LAMBDA
    from l2tune.tradeoff import Tradeoff

    opened = open_storage(storage, must_exist=True)
    if is_comparison(opened, study):
        names = ", ".join(found.study_name for found in comparison_studies(opened, study).values())
        raise UserError("is a comparison of several studies", repr(study), f"give one of them: {names}")
    found = load_study(opened, study)
    folder = check_folder(out or results_folder(study), room=0)
    record = read_study(found)
    check_trainable(
        record,
        made="fit needs the settings that l2tune stores",
        called="in Python: Tradeoff.from_study(study).refit(function), called as function(strength, seed)",
    )
    if strength is not None and (one_se or not 0 <= strength <= HIGHEST_LAMBDA):
        raise UserError(f"{strength:g} cannot be used", "--lambda", "give one λ from 0 to 1e6, without --one-se")
    if strength is None:
        tradeoff = Tradeoff.from_record(record)
        strength = tradeoff.one_se_lambda if one_se else tradeoff.best_lambda

    from l2tune.report.dashboard import artifacts_beside, keep_artifacts
    from l2tune.whole_files import write_together

    settings, assembled = assemble_again(record, device=device, data_root=data_root)
    images = assembled.problem.data
    print(f"training on all {len(images.labels)} training images with λ {format_lambda(strength)}", flush=True)
    size = sum(tensor.nbytes for tensor in assembled.problem.network.state_dict().values())
    parent = next(place for place in (folder, *folder.parents, Path()) if place.exists())
    check_room(parent, size + (1 << 20), f"--out {folder}")
    end_loading()
    with lasting_interrupts() as raise_if_interrupted:
        fit = assembled.refit(strength, settings.search.seed, raise_if_interrupted)

    from safetensors.torch import save

    result = {
        "schema": FIT_SCHEMA,
        "study": study,
        "lambda": strength,
        "weight_decay": None if settings.penalty.form in NO_WEIGHT_DECAY else weight_decay(strength),
        "penalty": settings.penalty.form,
        **fit.scores,
        "train_images": len(images.labels),
        "test_images": len(images.test_labels),
        "class_names": list(images.class_names),
        "shape": list(images.shape),
        **fit.normalization,
        "seconds": fit.seconds,
        "settings": dict(record.settings),
        "versions": versions(),
    }
    # tied weights each on their own: the format knows no shared memory
    state = {name: tensor.clone().contiguous() for name, tensor in fit.model.state_dict().items()}
    metadata = {"study": study, "lambda": repr(strength), "model": settings.model.name}
    contents = {
        "model.safetensors": save(state, metadata),
        "fit.json": json.dumps(result, indent=2, allow_nan=False).encode(),
    }
    try:
        write_together(folder, contents)
    except OSError as error:
        again = f"`l2tune fit {study}` again"
        raise unwritten(error, f"--out {folder}", "nothing was written, the study is kept", again) from None
    with contextlib.suppress(Exception):  # a copy for the dashboard
        keep_artifacts(found, [folder / "model.safetensors", folder / "fit.json"], artifacts_beside(str(folder)))
    test_loss, test_error, train_loss = (fit.scores[name] for name in ("test_loss", "test_error", "train_loss"))
    print(
        f"test loss {test_loss:.4g} nats, test error {100 * test_error:.3g} % "
        f"(training loss {train_loss:.4g}); saved {folder / 'model.safetensors'} and {folder / 'fit.json'}"
    )
