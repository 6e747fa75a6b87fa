"""`medsweep k8s`: run a sweep as RayJobs on the node pools of a Kubernetes cluster."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from medsweep.cli.cluster_options import (
    add_cluster,
    add_max_at_once,
    add_named_sweep,
    cluster_of,
    load_settings,
    sweep_name,
)
from medsweep.cli.options import add_json, add_out, add_sweep, load_sweep, shipped, show
from medsweep.errors import EXIT_DONE, InputError, MedSweepError
from medsweep.reporter import harmless

HEADINGS = {
    "job": "job",
    "phase": "phase",
    "node": "node",
    "seconds": "seconds",
    "reason": "reason",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the verb's own verbs."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def add(name: str, help_: str, run: object) -> argparse.ArgumentParser:
        child: argparse.ArgumentParser = verbs.add_parser(
            name, help=help_, description=help_[0].upper() + help_[1:] + "."
        )
        child.set_defaults(run=run)
        return child

    child = add("render", "print the manifests of a sweep's jobs", render)
    add_sweep(child)
    add_cluster(child, connects=False)
    child.add_argument(
        "--stage", choices=["finetune", "benchmark", "serve"], help="default: finetune, benchmark"
    )
    child.add_argument("--cell", metavar="MODEL@PROFILE", help="render only this cell")
    child = add("submit", "submit a sweep's jobs in order and wait for them; resumable", submit)
    add_sweep(child)
    add_cluster(child)
    add_max_at_once(child)
    child = add("status", "show the phase of a sweep's jobs, and why they do not proceed", status)
    add_named_sweep(child)
    add_cluster(child)
    add_json(child)
    child = add("logs", "print the log of a job's driver", logs)
    add_named_sweep(child)
    child.add_argument("job", metavar="JOB", help="name of the job or its beginning, or its key")
    child.add_argument(
        "--follow", action="store_true", help="wait for further lines until the job ends"
    )
    add_cluster(child)
    child = add("fetch", "fetch and verify the cells that are done, and write the report", fetch)
    add_sweep(child)
    add_cluster(child)
    add_out(child)
    add_json(child)
    child = add("cancel", "delete a sweep's unfinished jobs; finished ones stay", cancel)
    add_named_sweep(child)
    add_cluster(child)
    child = add("delete", "delete all objects of a sweep in the cluster; results stay", delete)
    add_named_sweep(child)
    add_cluster(child)
    child = add("chart", "print the folder of the Helm chart that comes with the package", chart)
    child = add("manifests", "print the folder of the base, overlays and sample jobs", manifests)
    child = add("doctor", "check the cluster for everything that a sweep needs", doctor)
    add_cluster(child)
    add_json(child)


def render(options: argparse.Namespace) -> int:
    """Print YAML documents for `kubectl apply -f -`."""
    spec, settings = load_sweep(options), load_settings(options)
    import yaml

    from medsweep.k8s.render import serve_service
    from medsweep.k8s.submit import tasks_of
    from medsweep.sweep.resolve import resolve

    plan = resolve(spec, here=False).plan
    cells = [cell for cell in plan.runnable if options.cell in (None, cell.name)]
    if not cells:
        names = ", ".join(sorted(cell.name for cell in plan.runnable))
        raise InputError(f"--cell {options.cell}: no such cell can run; these can: {names}")
    if options.stage == "serve":
        manifests = [serve_service(spec, cell, settings) for cell in cells]
    else:
        keys = {cell.key for cell in cells} | {cell.adapter for cell in cells}
        manifests = [
            task.manifest()
            for task in tasks_of(spec, plan, settings)
            if task.key in keys and options.stage in (None, task.stage)
        ]
    print(yaml.safe_dump_all(manifests, sort_keys=False, width=100), end="")
    return EXIT_DONE


def submit(options: argparse.Namespace) -> int:
    """Submit and wait; list the failures."""
    spec, settings = load_sweep(options), load_settings(options)
    from medsweep.k8s.run import run_jobs
    from medsweep.k8s.table import summary
    from medsweep.sweep.resolve import resolve

    api, plan = cluster_of(options), resolve(spec, here=False).plan
    states = run_jobs(api, spec, plan, settings, max_jobs=options.max_at_once)
    print(summary(states))
    failed = [each for each in states if each.job.phase == "failed"]
    for each in failed:
        print(f"  failed: {each.task.stage} {each.task.what}: {harmless(str(each.job.reason))}")
    return MedSweepError.exit_code if failed else EXIT_DONE


def status(options: argparse.Namespace) -> int:
    """Print one row per job."""
    settings, name = load_settings(options), sweep_name(options)
    from medsweep.k8s.sweeps import sweep_states
    from medsweep.k8s.table import job_row

    states = sweep_states(cluster_of(options), settings.namespace, name)
    if not states and not options.json:
        print(f"no jobs of sweep {name} in namespace {settings.namespace}")
        return EXIT_DONE
    show([job_row(each) for each in states], as_json=options.json, headings=HEADINGS)
    return EXIT_DONE


def logs(options: argparse.Namespace) -> int:
    """Print the log of one job."""
    settings = load_settings(options)
    from medsweep.k8s.sweeps import log_lines

    lines = log_lines(
        cluster_of(options),
        settings.namespace,
        sweep_name(options),
        options.job,
        follow=options.follow,
    )
    for line in lines:
        print(harmless(line, keep="\t"))
        sys.stdout.flush()
    return EXIT_DONE


def fetch(options: argparse.Namespace) -> int:
    """Fetch the results."""
    spec, settings = load_sweep(options), load_settings(options)
    from medsweep.cli.run import report
    from medsweep.k8s.run import fetch_sweep
    from medsweep.sweep.resolve import resolve

    summary = fetch_sweep(
        lambda: cluster_of(options), resolve(spec, here=False), settings, options.out
    )
    return report(summary, as_json=options.json)


def cancel(options: argparse.Namespace) -> int:
    """Delete the unfinished jobs."""
    return _remove(options, keep_finished=True)


def delete(options: argparse.Namespace) -> int:
    """Delete all objects of the sweep."""
    return _remove(options, keep_finished=False)


def chart(options: argparse.Namespace) -> int:
    """Print the path of the chart, for `helm`."""
    print(shipped("chart"))
    return EXIT_DONE


def manifests(options: argparse.Namespace) -> int:
    """Print the path of the folder, for `kubectl`."""
    print(shipped("k8s"))
    return EXIT_DONE


def doctor(options: argparse.Namespace) -> int:
    """Print every check; return 1 if one failed."""
    from medsweep.k8s.doctor import examine

    checks = list(examine(cluster_of(options), load_settings(options)))
    headings = {"state": "state", "what": "what", "finding": "finding", "advice": "what to do"}
    rows = [{**asdict(check), "advice": check.advice or None} for check in checks]
    show(rows, as_json=options.json, headings=headings)
    failed = any(check.state == "failed" for check in checks)
    return MedSweepError.exit_code if failed else EXIT_DONE


def _remove(options: argparse.Namespace, *, keep_finished: bool) -> int:
    settings, name = load_settings(options), sweep_name(options)
    from medsweep.k8s.sweeps import remove, wait_deleted

    api = cluster_of(options)
    removed = remove(
        api,
        settings.namespace,
        name,
        keep=("done", "failed") if keep_finished else (),
    )
    for each in removed:
        print(f"deleted {each}")
    if not removed:
        print(f"nothing to delete of sweep {name} in namespace {settings.namespace}")
    wait_deleted(api, settings.namespace, name)
    return EXIT_DONE
