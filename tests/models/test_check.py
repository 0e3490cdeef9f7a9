"""Networks with one fault each, and what is said of them; networks that look odd and are fine."""

import contextlib
import copy
import math
import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import VisionTransformer

from l2tune.errors import UserError
from l2tune.models.check import check_factory
from l2tune.models.registry import build_model, make_factory, names
from l2tune.settings import ModelSettings

SHAPE, CLASSES = (1, 4, 4), 3
PIXELS = math.prod(SHAPE)
Outputs = namedtuple("Outputs", ["logits", "auxiliary"])


class Net(nn.Module):
    """A linear layer, and what `forward` makes of its images and logits."""

    def __init__(self, forward=lambda net, x: net.logits(x), width=PIXELS, **parts):
        super().__init__()
        self.linear = nn.Linear(width, CLASSES)
        self._forward = forward
        for name, part in parts.items():
            if isinstance(part, torch.Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def logits(self, x):
        return self.linear(x.flatten(1))

    def forward(self, x):
        return self._forward(self, x)


def refusal(build, batch_size=8, shape=SHAPE):
    def factory(shape, classes):
        return build()

    factory.__qualname__ = "net"
    with pytest.raises(UserError) as refused:
        check_factory(factory, shape, CLASSES, batch_size)
    assert refused.value.__cause__ is None
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix("model 'net': ")


def accept(build, batch_size=8, shape=SHAPE):
    check_factory(lambda shape, classes: build(), shape, CLASSES, batch_size)


def in_training(other):
    """A forward pass that does something else in training mode."""
    return lambda net, x: other(net, x) if net.training else net.logits(x)


def in_evaluation(other):
    return lambda net, x: net.logits(x) if net.training else other(net, x)


def fail(net, x):
    raise RuntimeError("no such\nblock")


def without_gradient(net, x):
    with torch.no_grad():
        return net.logits(x)


def subtract(net, x):
    x -= 1
    return net.logits(x)


def single(net, x):
    return net.logits(x).squeeze(0)


def stop(net, x):
    raise SystemExit(3)


def cached(net, x):
    """Keeps what was computed at the first scoring, without a gradient graph."""
    if len(x) == 1 and net.memory is None:
        net.memory = net.linear.weight.sum() * torch.ones(1)
    return net.logits(x) * (1 if net.memory is None else net.linear.weight.sum() * net.memory)


def replaced(net, x):
    net.linear.weight = nn.Parameter(net.linear.weight.detach().clone())
    return net.logits(x)


def late(net, x):
    if not hasattr(net, "scale"):
        net.scale = nn.Parameter(torch.ones(1))
    return net.logits(x) * net.scale


def bare(x):
    return x.flatten(1) @ torch.ones(PIXELS, CLASSES)


TRAINING = {
    "tuple": (
        in_training(lambda net, x: (net.logits(x), net.logits(x))),
        "gave a tuple for 3 images in training mode; return logits of shape (3, 3)",
    ),
    "named": (
        in_training(lambda net, x: Outputs(net.logits(x), None)),
        "gave a Outputs for 3 images in training mode; return logits of shape (3, 3)",
    ),
    "dict": (
        in_training(lambda net, x: {"out": net.logits(x)}),
        "gave a dict for 3 images in training mode; return logits of shape (3, 3)",
    ),
    "raises": (
        in_training(fail),
        "cannot be trained on batches of 3 images of 1×4×4 (no such); mend what it does in training mode",
    ),
    "exits": (
        in_training(stop),
        "cannot be trained on batches of 3 images of 1×4×4 (3); mend what it does in training mode",
    ),
    "integers": (
        lambda net, x: net.logits(x).long(),
        "gave numbers of type int64 for two images; return logits of shape (2, 3), in float32",
    ),
    "truths": (
        in_training(lambda net, x: net.logits(x) > 0),
        "gave numbers of type bool for 3 images in training mode; return logits of shape (3, 3), in float32",
    ),
    "complex": (
        lambda net, x: net.logits(x) + 0j,
        "gave numbers of type complex64 for two images; return logits of shape (2, 3), in float32",
    ),
    "sparse": (
        lambda net, x: net.logits(x).to_sparse(),
        "gave a sparse tensor for two images; return logits of shape (2, 3)",
    ),
    "nested": (
        lambda net, x: torch.nested.as_nested_tensor(list(net.logits(x)), layout=torch.jagged),
        "gave a nested tensor for two images; return logits of shape (2, 3)",
    ),
    "elsewhere": (
        lambda net, x: net.logits(x).to("meta"),
        "gave an output on meta for two images on the CPU; compute where the images are",
    ),
    "detached": (
        lambda net, x: net.logits(x).detach(),
        "its output needs no gradient in training mode; "
        "leave out detach, torch.no_grad and whole numbers on the way to it",
    ),
    "without gradient": (
        without_gradient,
        "its output needs no gradient in training mode; "
        "leave out detach, torch.no_grad and whole numbers on the way to it",
    ),
    "unreached": (
        lambda net, x: bare(x.clone().requires_grad_()),
        "its loss has no gradient over any of its weights; return logits that are computed from them",
    ),
    "nan": (
        lambda net, x: net.logits(x).sub(1e6).sqrt(),
        "gives NaN or infinity for ordinary images in training mode, before any training; "
        "mend its initial weights or its forward pass",
    ),
    "nan gradient": (
        lambda net, x: (net.linear(x.flatten(1)) * 0).sqrt(),
        "the gradient over 'linear.weight' is NaN or infinite for ordinary images, before any training; "
        "mend its initial weights or its forward pass",
    ),
    "summed": (
        in_training(lambda net, x: net.logits(x).sum(0)),
        "gave shape (3,) for 3 images in training mode; return logits of shape (3, 3)",
    ),
    "one batch size": (
        in_training(lambda net, x: net.linear(x.reshape(8, PIXELS))),
        "cannot be trained on batches of 3 images of 1×4×4 (shape '[8, 16]' is invalid for input of size 48); "
        "mend what it does in training mode",
    ),
    "even batches": (
        in_training(lambda net, x: net.linear(x.reshape(2, -1, PIXELS)).flatten(0, 1)),
        "cannot be trained on batches of 3 images of 1×4×4 (shape '[2, -1, 16]' is invalid for input of size 48); "
        "mend what it does in training mode",
    ),
    "pairs": (
        lambda net, x: net.logits(x)[:2],
        "gave shape (2, 3) for 3 images in training mode; return logits of shape (3, 3)",
    ),
    "squeezed": (single, "gave shape (3,) for one image in evaluation mode; return logits of shape (1, 3)"),
    "evaluation without gradient": (
        in_evaluation(without_gradient),
        "cannot be differentiated in evaluation mode (element 0 of tensors does not require grad and does not have a "
        "grad_fn); let gradients flow there too",
    ),
    "images without gradient": (
        lambda net, x: net.logits((x > 0).float()),
        "its output has no gradient over the images in evaluation mode; "
        "leave out detach, comparisons and whole numbers on the way from them",
    ),
    "in place": (
        subtract,
        "its forward pass changes the images that it is given in training mode; "
        "compute anew: x = x - 1 for x -= 1, no inplace=True on the input",
    ),
    "replaced weights": (
        in_training(replaced),
        "makes the weights 'linear.weight' while it is trained, where no optimizer knows them; "
        "make all weights when the network is built",
    ),
    "late weights": (
        in_training(late),
        "makes the weights 'scale' while it is trained, where no optimizer knows them; "
        "make all weights when the network is built",
    ),
    "python's random": (
        in_training(lambda net, x: net.logits(x) * random.random()),
        "its forward pass changes Python's random numbers in training mode; "
        "draw from torch's generator, the only one that is seeded in training",
    ),
    "numpy's random": (
        in_training(lambda net, x: net.logits(x) * np.random.rand()),  # noqa: NPY002
        "its forward pass changes numpy's random numbers in training mode; "
        "draw from torch's generator, the only one that is seeded in training",
    ),
    "own noise": (
        in_training(lambda net, x: net.logits(x) * np.random.default_rng().random()),
        "two networks built with one seed give different outputs in training mode; draw from the global generators "
        "of torch, numpy or Python, which are seeded, not from one of your own",
    ),
}


@pytest.mark.parametrize("fault", TRAINING)
def test_a_network_that_cannot_be_trained_is_refused(fault):
    forward, message = TRAINING[fault]
    assert refusal(lambda: Net(forward)) == message


def test_what_scoring_leaves_behind_must_not_stop_training():
    message = refusal(lambda: Net(cached, memory=None))
    assert message.startswith("cannot be trained on batches of 2 images of 1×4×4 (Inference tensors cannot be saved")


def test_batch_norm_needs_more_than_one_image():
    def build():
        return nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 5), nn.BatchNorm1d(5), nn.Linear(5, CLASSES))

    accept(build, batch_size=2)
    assert refusal(build, batch_size=1) == (
        "cannot be trained on batches of 1 image of 1×4×4 (Expected more than 1 value per channel when training, got "
        "input size torch.Size([1, 5])); give a larger --batch-size"
    )


def test_a_short_last_batch_is_tried_only_where_there_is_one():
    pairs = in_training(lambda net, x: net.linear(x.reshape(2, -1, PIXELS)).flatten(0, 1))
    accept(lambda: Net(pairs), batch_size=2)
    accept(lambda: Net(in_training(lambda net, x: net.linear(x.reshape(1, PIXELS)))), batch_size=1)


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16", "complex64"])
def test_weights_in_another_type_are_refused(dtype):
    kind = getattr(torch, dtype)
    message = f"is {dtype}; build the network in float32, as it is trained"
    assert refusal(lambda: Net(scale=nn.Parameter(torch.ones(1, dtype=kind)))) == f"'scale' {message}"
    if dtype != "complex64":
        assert refusal(lambda: Net().to(kind)) == f"'linear.weight' {message}"


def test_buffers_become_what_training_makes_of_them():
    accept(lambda: Net(lambda net, x: net.logits(x * net.scale), scale=torch.ones(1, dtype=torch.float64)))
    double = torch.ones(PIXELS, CLASSES, dtype=torch.float64)
    assert refusal(lambda: Net(lambda net, x: net.logits(x) + x.flatten(1).double() @ net.map, map=double)).startswith(
        "cannot take images of 1×4×4 ("
    )
    assert refusal(lambda: Net(wave=torch.ones(1) + 0j)) == (
        "'wave' is complex64; build the network in float32, as it is trained"
    )


def test_the_meta_device_has_no_values():
    message = "'linear.weight' is on the meta device, without values; build the network on the CPU"
    assert refusal(lambda: Net().to("meta")) == message

    def build():
        with torch.device("meta"):
            return Net()

    assert refusal(build) == message


def test_lazy_layers_get_their_weights_in_the_first_pass():
    accept(lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(CLASSES)))
    accept(lambda: Net(late))
    assert refusal(lambda: Net(unused=nn.LazyLinear(4))) == (
        "'unused.weight' is lazy, and no forward pass reaches it; remove the layer, or use it"
    )


def test_sparse_gradients_are_refused():
    def build():
        return Net(lambda net, x: net.logits(x) + net.table((x[:, 0, 0, 0] > 0).long()), table=table())

    def table():
        return nn.Embedding(2, CLASSES, sparse=True)

    assert refusal(build) == "the gradient over 'table.weight' is sparse; leave out sparse=True"


def test_expanded_weights_cannot_be_trained():
    weight = "has weights that cannot be changed in place (unsupported operation: more than one element"
    assert refusal(
        lambda: Net(lambda net, x: net.logits(x) * net.s, s=nn.Parameter(torch.ones(1).expand(3)))
    ).startswith(weight)


# what a network's code does to torch itself

EFFECTS = {
    "the default data type": lambda: torch.set_default_dtype(torch.float64),
    "the gradient mode": lambda: torch.set_grad_enabled(False),
    "the number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "the default device": lambda: torch.set_default_device("meta"),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True, check_nan=False),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "the precision of products": lambda: torch.set_float32_matmul_precision("high"),
    "Python's random numbers": lambda: random.seed(20261),
    "numpy's random numbers": lambda: np.random.seed(20261),  # noqa: NPY002
}


def state():
    return [
        torch.get_default_dtype(),
        torch.is_grad_enabled(),
        torch.get_num_threads(),
        torch.get_default_device(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.get_float32_matmul_precision(),
        torch.get_rng_state().tolist(),
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002
    ]


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_a_forward_pass_that_changes_torchs_state_is_refused(effect):
    def forward(net, x):
        logits = net.logits(x)
        EFFECTS[effect]()
        return logits

    before = state()
    assert refusal(lambda: Net(in_training(forward))).startswith(
        f"its forward pass changes {effect} in training mode; "
    )
    assert state() == before


@pytest.mark.parametrize("effect", [*EFFECTS, "the global seed"])
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_what_a_factory_changes_is_put_back(effect):
    def build():
        net = Net()
        EFFECTS.get(effect, lambda: torch.manual_seed(0))()
        return net

    before = state()
    accept(build)
    assert state() == before


def test_a_check_leaves_all_state_as_it_was():
    before = state()
    accept(lambda: nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(PIXELS, CLASSES)))
    with torch.no_grad():
        accept(Net)
    refusal(lambda: Net(fail))
    assert state() == before


def test_settings_that_were_there_before_do_not_enter_the_weights():
    with contextlib.ExitStack() as after:
        after.callback(torch.set_default_dtype, torch.get_default_dtype())
        torch.set_default_dtype(torch.float64)
        accept(Net)
        assert torch.get_default_dtype() == torch.float64


# equal seeds, equal networks

RNG = np.random.default_rng(0)


def drawn(values):
    net = Net()
    with torch.no_grad():
        net.linear.weight.copy_(torch.as_tensor(values, dtype=torch.float32).view(CLASSES, PIXELS))
    return net


def test_global_generators_follow_the_seed():
    accept(lambda: drawn([random.gauss(0, 1) for _ in range(PIXELS * CLASSES)]))
    accept(lambda: drawn(np.random.randn(PIXELS * CLASSES)))  # noqa: NPY002


@pytest.mark.parametrize("draw", [lambda n: [random.gauss(0, 1) for _ in range(n)], np.random.randn])
def test_other_seeds_give_other_weights_whichever_global_generator_draws(draw):
    def weights(seed):
        torch.manual_seed(seed)
        return build_model(lambda shape, classes: drawn(draw(PIXELS * CLASSES)), SHAPE, CLASSES).linear.weight

    with torch.random.fork_rng([]):
        assert torch.equal(weights(0), weights(0))
        assert not torch.equal(weights(0), weights(1))


def test_generators_of_ones_own_are_refused():
    fix = "draw from the global generators of torch, numpy or Python, which are seeded, not from one of your own"
    weights = f"two networks built with one seed differ in 'linear.weight'; {fix}"
    assert refusal(lambda: drawn(RNG.normal(size=PIXELS * CLASSES))) == weights
    own = torch.Generator().manual_seed(3)
    assert refusal(lambda: drawn(torch.randn(PIXELS * CLASSES, generator=own))) == weights
    assert refusal(lambda: drawn(np.random.default_rng().normal(size=PIXELS * CLASSES))) == weights
    widths = iter(range(5, 50))
    assert refusal(lambda: Net(more=nn.ParameterList(torch.ones(1) for _ in range(next(widths))))) == (
        f"two networks built with one seed differ in 'more.5'; {fix}"
    )

    def hidden():  # not registered, so no weight shows it
        net = Net(lambda net, x: net.logits(x * net.scale[0]))
        net.scale = [torch.from_numpy(RNG.normal(size=SHAPE)).float()]
        return net

    assert refusal(hidden) == f"two networks built with one seed give different outputs in evaluation mode; {fix}"


def test_weights_may_be_the_same_for_all_seeds():
    values = RNG.normal(size=PIXELS * CLASSES)
    accept(lambda: drawn(values))
    accept(lambda: drawn(np.random.default_rng(1).normal(size=PIXELS * CLASSES)))
    template, saved = Net(), Net().state_dict()
    accept(lambda: copy.deepcopy(template))

    def loaded():
        net = Net()
        net.load_state_dict(saved)
        return net

    accept(loaded)


# discovered, not listed

SMALL = ["resnet18", "squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5", "densenet121", "googlenet", "swin_t"]


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("batch_size", [1, 2, 128])
def test_our_networks_pass(name, batch_size):
    check_factory(make_factory(ModelSettings(name=name)), (1, 8, 8), 10, batch_size)


@pytest.mark.parametrize("name", SMALL)
def test_torchvisions_networks_pass(name):
    check_factory(make_factory(ModelSettings(name=name)), (1, 32, 32), 7, 128)


def test_inception_passes():
    check_factory(make_factory(ModelSettings(name="inception_v3")), (3, 75, 75), 7, 128)


def test_a_vision_transformer_passes():
    accept(lambda: VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=CLASSES), shape=(3, 32, 32))
