import sys

import pytest
import torch
from torch import nn
from torchvision import models

from l2tune.errors import UserError
from l2tune.models.registry import build_model, make_factory, names
from l2tune.settings import ModelSettings


def build(name, shape=(1, 28, 28), classes=10, **settings):
    return build_model(make_factory(ModelSettings(name=str(name), **settings)), shape, classes)


def refusal(*args, **named):
    with pytest.raises(UserError) as refused:
        build(*args, **named)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_simple_cnn_is_the_classic_network():
    layers = [
        nn.Conv2d(1, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 28 * 28, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    ]
    assert [str(layer) for layer in build("simple_cnn")] == [str(layer) for layer in layers]


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (4, 9, 17)])
def test_our_networks_take_any_shape_and_learn(name, shape):
    model = build(name, shape, 3)
    assert model.training
    logits = model(torch.rand(4, *shape))
    assert logits.shape == (4, 3)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_small_resnet_is_small_and_normalized():
    model = build("small_resnet", (3, 32, 32))
    assert sum(p.numel() for p in model.parameters()) == 78_042
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == 9
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == 9


def test_linear_is_one_layer():
    assert [tuple(p.shape) for p in build("linear", (3, 8, 8), 5).parameters()] == [(5, 192), (5,)]


@pytest.mark.parametrize("name", [*names(), "squeezenet1_1", "mobilenet_v3_small"])
def test_weights_come_from_torchs_generator_alone(name):
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build(name, (3, 32, 32)).parameters()])

    with torch.random.fork_rng([]):
        assert torch.equal(weights(0), weights(0))
        assert not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize(
    "name",
    ["resnet18", "squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5", "densenet121", "googlenet"],
)
def test_torchvisions_networks_are_adapted(name):
    model = build(name, (1, 32, 32), 7)
    assert model(torch.rand(4, 1, 32, 32)).shape == (4, 7)  # in training mode too


@pytest.mark.parametrize("name", ["alexnet", "vit_b_32"])
def test_a_network_that_needs_larger_images_is_refused(name):
    message = refusal(name, (3, 32, 32))
    assert message.startswith(f"model '{name}': cannot take images of 3×32×32 (")
    assert message.endswith("); choose a network for this size, or another --image-size")


def test_unknown_names_are_refused():
    assert refusal("simple_cn") == "--model simple_cn: no such model; did you mean 'simple_cnn'?"
    assert refusal("resnet19") == "--model resnet19: no such model; did you mean 'resnet18'?"
    assert refusal("qqqq") == (
        "--model qqqq: no such model; "
        "give simple_cnn, small_resnet, linear, a torchvision model, timm:NAME or package.module:factory"
    )
    assert refusal("simple_cnn", pretrained=True) == (
        "--pretrained: 'simple_cnn' has no published weights; it is for torchvision's and timm's models"
    )


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Where torch would keep the downloaded weights of squeezenet1_1."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    url = models.get_model_weights("squeezenet1_1").DEFAULT.url
    return tmp_path / "checkpoints" / url.rsplit("/", 1)[1]


def test_published_weights_are_kept_where_they_fit(published):
    source = models.squeezenet1_1()
    torch.save(source.state_dict(), published)
    model = build("squeezenet1_1", (3, 64, 64), 7, pretrained=True)
    own, given = model.state_dict(), source.state_dict()
    differing = [name for name in given if own[name].shape != given[name].shape or not own[name].equal(given[name])]
    assert differing == ["classifier.1.weight", "classifier.1.bias"]
    assert own["classifier.1.bias"].shape == (7,)
    assert build("squeezenet1_1", (1, 64, 64), 7, pretrained=True)(torch.rand(2, 1, 64, 64)).shape == (2, 7)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_a_file_of_weights_cannot_run_code(published):
    torch.save({"weight": Bomb()}, published)
    assert refusal("squeezenet1_1", (3, 64, 64), pretrained=True) == (
        "--model squeezenet1_1: the file of its weights holds more than weights; "
        "remove it from torch's cache and run again"
    )


def test_weights_that_cannot_be_downloaded_are_told(published, monkeypatch):
    def offline(*args, **named):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    assert refusal("squeezenet1_1", (3, 64, 64), pretrained=True) == (
        "--model squeezenet1_1: has no weights to start from (no route to host); leave out --pretrained"
    )


MODULE = """
import torch
from torch import nn
def lazy(shape, classes): return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))
class Net(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.layer = nn.Linear(shape[0] * shape[1] * shape[2], classes)
    def forward(self, x): return self.layer(x.flatten(1))
def failing(shape, classes): raise RuntimeError("no such block")
def needy(): return nn.Flatten()
def function(shape, classes): return lambda x: x
def narrow(shape, classes): return nn.Sequential(nn.Flatten(), nn.Linear(784, classes - 1))
def several(shape, classes):
    model = nn.Module(); model.forward = lambda x: (x, x); return model
def frozen(shape, classes): return nn.Sequential(nn.Conv2d(1, classes, 28), nn.Flatten()).requires_grad_(False)
def large(shape, classes): return nn.Sequential(nn.Conv2d(1, classes, 99), nn.Flatten())
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "my_nets.py"
    path.write_text(MODULE)
    return path


@pytest.mark.parametrize("name", ["lazy", "Net"])
def test_a_users_factory(file, name):
    model = build(f"{file}:{name}")
    assert [tuple(p.shape) for p in model.parameters()] == [(10, 784), (10,)]
    assert model.training


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "failing",
            "the factory failed with RuntimeError: no such block; "
            "it is called as factory((channels, height, width), classes)",
        ),
        (
            "needy",
            "the factory failed with TypeError: needy() takes 0 positional arguments but 2 were given; "
            "it is called as factory((channels, height, width), classes)",
        ),
        ("function", "the factory gave a function; return a torch.nn.Module"),
        ("narrow", "gave shape (2, 9) for two images; return logits of shape (2, 10)"),
        ("several", "gave a tuple for two images; return logits of shape (2, 10)"),
        ("frozen", "has no parameters to train; return a network with weights that require gradients"),
        (
            "large",
            "cannot take images of 1×28×28 (Calculated padded input size per channel: (28 x 28). "
            "Kernel size: (99 x 99). Kernel size can't be greater than actual input size); "
            "choose a network for this size, or another --image-size",
        ),
    ],
)
def test_factories_that_do_not_fit_are_refused(file, name, message):
    assert refusal(f"{file}:{name}") == f"model '{name}': {message}"


def test_factories_that_cannot_be_found_are_refused(file):
    assert (
        refusal(f"{file}:absent") == f"--model {file}:absent: '{file}' has no 'absent'; name a function that it defines"
    )


@pytest.mark.parametrize(("name", "shape"), [("timm:test_resnet", (1, 28, 28)), ("timm:test_vit", (3, 32, 32))])
def test_networks_of_timm_take_the_images_as_they_are(name, shape):
    model = build(name, shape, 4)
    assert model(torch.zeros(2, *shape)).shape == (2, 4)


def test_what_timm_has_not_is_refused(monkeypatch):
    assert refusal("timm:resnet19") == "--model timm:resnet19: timm has no such model; did you mean 'timm:resnet18'?"
    monkeypatch.setitem(sys.modules, "timm", None)
    assert "pip install 'l2tune[timm]'" in refusal("timm:resnet18")
