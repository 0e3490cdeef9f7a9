"""Normalization against plain statistics."""

import numpy as np
import torch

from l2tune.training.pixels import Normalization


class TestNormalization:
    @staticmethod
    def of(images, indices):
        return Normalization.of(images, np.asarray(indices), torch.float64, torch.device("cpu"))

    def test_statistics_are_exact_and_of_the_chosen_images(self):
        images = torch.randint(0, 256, (9000, 3, 4, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        chosen = np.arange(0, 9000, 2)
        found = self.of(images, chosen)
        pixels = images[chosen].double() / 255
        torch.testing.assert_close(found.mean, pixels.mean((0, 2, 3)), rtol=1e-12, atol=0)
        torch.testing.assert_close(found.std, pixels.std((0, 2, 3), correction=0), rtol=1e-12, atol=0)
        normal = found.apply(images[chosen])
        torch.testing.assert_close(normal.mean((0, 2, 3)), torch.zeros(3).double(), rtol=0, atol=1e-12)
        torch.testing.assert_close(normal.std((0, 2, 3), correction=0), torch.ones(3).double(), rtol=1e-12, atol=0)

    def test_a_constant_channel_stays_zero(self):
        images = torch.stack([torch.full((5, 4, 4), 37), torch.arange(80).reshape(5, 4, 4)], dim=1).to(torch.uint8)
        normal = self.of(images, range(5)).apply(images)
        assert normal[:, 0].abs().max() < 1e-12
        assert torch.isfinite(normal).all()
