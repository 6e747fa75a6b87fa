"""Which of the images a hardware profile runs, and how it is named."""

from __future__ import annotations

from medsweep.hardware.profile import HardwareProfile
from medsweep.k8s.settings import ClusterSettings, ImageFamily

# PyTorch's wheels for CUDA 13 begin at compute capability 7.5; those for 12.6 still hold 7.0.
_FIRST_CUDA_13 = (7, 5)


def image_family(profile: HardwareProfile) -> ImageFamily:
    """Return the image family that has kernels for a profile's GPUs."""
    if profile.accelerator is None:
        return "cpu"
    return "cu13" if profile.accelerator.compute_capability >= _FIRST_CUDA_13 else "cu126"


def image_reference(settings: ClusterSettings, family: ImageFamily) -> str:
    """Return an image's full name, by digest where the settings give one."""
    digest = settings.image_digests.get(family)
    if digest is not None:
        return f"{settings.image}@{digest}"
    return f"{settings.image}:{settings.image_tag}-{family}"
