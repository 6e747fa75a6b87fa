"""`medsweep hardware`: list the hardware profiles, and say which one this machine is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from medsweep.cli.options import add_json, show
from medsweep.errors import EXIT_DONE, InputError
from medsweep.hardware.catalog import ACCELERATORS, PROFILES
from medsweep.hardware.observe import host_profile, matches, observe_host
from medsweep.hardware.profile import GIB

if TYPE_CHECKING:
    from medsweep.hardware.observe import ObservedHardware

HEADINGS = {
    "profile": "profile",
    "cpus": "CPUs",
    "gpus": "GPUs",
    "accelerator": "accelerator",
    "gpu_memory_gib": "GPU GiB",
    "host_memory_gib": "GiB",
    "usd_per_hour": "USD/h",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument(
        "--own",
        type=Path,
        metavar="FILE",
        help="write this machine as an entry of a sweep's own_profiles, with room for its price",
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the nine profiles and `host`, and which one this machine is."""
    observed = observe_host()
    same = [each.name for each in PROFILES.values() if matches(each, observed) is None]
    if options.own is not None:
        _write_own(options.own, observed, same)
    rows = [
        {
            "profile": profile.name,
            "cpus": profile.cpus,
            "gpus": profile.gpus,
            "accelerator": profile.accelerator.product if profile.accelerator else None,
            "gpu_memory_gib": round(profile.gpu_memory_bytes / GIB),
            "host_memory_gib": round(profile.host_memory_bytes / GIB),
            "usd_per_hour": profile.usd_per_hour,
            "price_source": f"{profile.price_source} ({profile.price_date})"
            if profile.price_source
            else None,
            "labels": profile.labels,
            "is_this_machine": profile.name in (*same, "host"),
        }
        for profile in (*PROFILES.values(), host_profile(observed))
    ]
    show(rows, as_json=options.json, headings=HEADINGS)
    if options.json:
        return EXIT_DONE
    sources = sorted({str(row["price_source"]) for row in rows if row["price_source"]})
    print(f"\nprices: {'; '.join(sources)}")
    print(f"this machine: {_described(observed)}")
    if same:
        print(f"it is the profile {' and '.join(same)}, whose rows are observed here")
    else:
        print(
            "it is none of the nine profiles, whose rows are emulated here; `host` names it in a "
            "sweep,\nand `medsweep hardware --own FILE` writes a profile of its own"
        )
    if options.own is not None:
        print(f"{options.own}: copy it into a sweep file, and give the price")
    return EXIT_DONE


def _described(observed: ObservedHardware) -> str:
    gpus = ", ".join(dict.fromkeys(observed.gpus))
    return ", ".join(
        [
            f"{observed.usable_cpus:g} CPUs ({observed.cpu_model or 'unknown processor'})",
            f"{observed.memory_bytes / GIB:.1f} GiB",
            f"{len(observed.gpus)} x {gpus}" if observed.gpus else "no GPU",
        ]
    )


def own_profile(observed: ObservedHardware) -> dict[str, object]:
    """Return this machine as an entry of `own_profiles`."""
    profile = host_profile(observed)
    # Rounded down: a profile that asks for more memory than there is would be emulated here.
    memory_gib = int(observed.memory_bytes / GIB * 10) / 10
    entry: dict[str, object] = {
        "name": f"{profile.cpus}cpu-{memory_gib:.0f}gib",
        "cpus": profile.cpus,
        "host_memory_gib": memory_gib,
    }
    if (gpu := profile.accelerator) is None:
        return entry
    known = next((name for name, each in ACCELERATORS.items() if each == gpu), None)
    figures = {
        "name": gpu.name,
        "product": gpu.product,
        "memory_gib": round(gpu.memory_bytes / GIB, 1),
        "compute_capability": ".".join(map(str, gpu.compute_capability)),
    }
    return {
        **entry,
        "name": f"{profile.gpus}x{gpu.slug}-{profile.cpus}cpu"[:30],
        "gpus": profile.gpus,
        "accelerator": known or figures,
    }


def _write_own(path: Path, observed: ObservedHardware, same: list[str]) -> None:
    """Write the entry; an existing file is never overwritten.

    Raises:
        InputError: the machine is a profile of the catalogue, or the file cannot be written.
    """
    import yaml

    if same:
        raise InputError(f"this machine is the profile {same[0]} already; name it in `cells`")
    entry = own_profile(observed)
    text = (
        f"# {_described(observed)}. For a sweep file: cells can then name MODEL@{entry['name']}.\n"
        + yaml.safe_dump({"own_profiles": [entry]}, sort_keys=False)
        + f"# prices:\n#   {entry['name']}: {{usd_per_hour: 0.00, source: our contract, "
        "date: 2026-01-01}\n"
    )
    if isinstance(entry.get("accelerator"), dict):
        text += (
            "# From the GPU's datasheet, so that speed is predicted: bandwidth_gb_per_s, and\n"
            "# peak_tflops: {float32: , float16: , bfloat16: } of the accelerator.\n"
        )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(f"{path} exists already; give another name") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from None
