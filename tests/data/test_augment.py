import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from l2tune.data.augment import augment


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_none_draws_nothing():
    batch, generator = torch.rand(4, 1, 8, 8), seeded()
    before = generator.get_state()
    assert torch.equal(augment(batch, (), generator), batch)
    assert torch.equal(generator.get_state(), before)


def test_flip_mirrors_about_half_of_the_images_whole():
    batch = torch.rand(1000, 3, 6, 5)
    found = augment(batch, ["flip"], seeded())
    same, mirrored = ((found == other).flatten(1).all(1) for other in (batch, batch.flip(3)))
    assert (same ^ mirrored).all()
    assert 400 < int(mirrored.sum()) < 600


@pytest.mark.parametrize(("height", "width"), [(16, 24), (8, 8), (4, 33)])
def test_shift_moves_each_image_as_padding_and_cropping_would(height, width):
    batch = torch.rand(400, 2, height, width)
    found = augment(batch, ["shift"], seeded())
    down, right = height // 8, width // 8
    padded = torch.nn.functional.pad(batch, (right, right, down, down), mode="reflect")
    seen = set()
    for image, source in zip(found, padded, strict=True):
        places = [
            (y, x)
            for y in range(2 * down + 1)
            for x in range(2 * right + 1)
            if torch.equal(image, source[:, y : y + height, x : x + width])
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) == (2 * down + 1) * (2 * right + 1)


@pytest.mark.parametrize("names", [("flip",), ("shift",), ("flip", "shift")])
def test_members_in_front_draw_like_one_long_batch(names):
    batch = torch.randint(0, 256, (3, 5, 2, 16, 16), dtype=torch.uint8)
    found = augment(batch, names, seeded())
    assert found.dtype == torch.uint8
    assert torch.equal(found, augment(batch.flatten(0, 1), names, seeded()).view_as(batch))
    assert not torch.equal(found, batch)


def test_the_generator_alone_decides():
    batch = torch.rand(64, 1, 16, 16)
    names = ["flip", "shift"]
    torch.manual_seed(1)
    first = augment(batch, names, seeded())
    torch.manual_seed(2)
    assert torch.equal(first, augment(batch, names, seeded()))
    assert not torch.equal(first, augment(batch, names, seeded(1)))
    assert torch.equal(augment(batch.to(torch.float64), names, seeded()).float(), first)


def test_the_given_batch_is_left_alone():
    batch = torch.rand(64, 1, 16, 16)
    before = batch.clone()
    augment(batch, ["flip", "shift"], seeded())
    assert torch.equal(batch, before)


def test_draws_go_to_a_card_from_pinned_memory(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: (pinned.append(tuple(self.shape)), self)[1])
    with FakeTensorMode(allow_non_fake_inputs=True):
        found = augment(torch.empty(4, 1, 8, 8, dtype=torch.uint8, device="cuda"), ("flip", "shift"), seeded())
    assert found.device.type == "cuda"
    assert pinned == [(4, 3)]


def test_the_transforms_of_torchvision_draw_once_for_a_batch_and_from_the_global_generator():
    """Should that change, what `l2tune.data.augment` says of them is no more, and they may serve."""
    from torchvision.transforms import v2

    batch = torch.rand(64, 1, 8, 8)
    for transform in (v2.RandomHorizontalFlip(0.5), v2.RandomRotation(30), v2.RandomCrop(8, padding=1)):
        alone, together = [], []
        for seed in range(10):
            torch.manual_seed(seed)
            together.append(transform(batch))
            torch.manual_seed(seed)
            alone.append(transform(batch[:1]))
        assert all(torch.equal(one[0], several[0]) for one, several in zip(alone, together, strict=True))
        torch.manual_seed(3)
        same = transform(batch[:1].expand(64, 1, 8, 8))
        assert (same == same[:1]).all(), "one draw for all images"
