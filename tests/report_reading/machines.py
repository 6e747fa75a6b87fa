"""What ran where, and what failed."""

from __future__ import annotations

from report_reading.printed import Expected, Text
from report_reading.raw import Raw, largest_of, listed_of, mean_of, one_line


class Machines(Raw):
    """Failures, and the hardware that was asked for and given."""

    def failures(self, row: Text) -> Expected:
        rows = self.every[
            (self.every["model"] == row["Model"]) & (self.every["profile"] == row["Profile"])
        ]
        rows = rows[rows["status"] == row["Status"]]
        reason = rows["reason"].dropna().unique()
        assert row["Reason"] in [one_line(each) for each in reason]
        kinds: dict[str, int] = {}
        for counts in rows["failed_by_kind"].dropna():
            for kind, count in dict(counts).items():
                kinds[kind] = kinds.get(kind, 0) + count
        listed = ", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items()))
        points = rows["load"].dropna().unique()
        return {
            "Load": row["Load"] if row["Load"] in points else None,
            "Reason": row["Reason"],
            "Failed requests": listed or None,
        }

    def cpus(self, row: Text) -> Expected:
        every = self.every[self.every["profile"] == row["Profile"]]
        rows = every[every["status"] == "ok"]
        gpus, accelerator = every["gpus"].iloc[0], every["accelerator"].iloc[0]
        return {
            "Basis": listed_of(rows, "basis"),
            "CPUs requested": mean_of(every, "cpus"),
            "CPUs used": listed_of(rows, "cpus_given"),
            "Threads": listed_of(rows, "threads"),
            "Accelerator requested": f"{gpus:.0f} \N{MULTIPLICATION SIGN} {accelerator}"
            if accelerator and gpus
            else None,
            "Device used": listed_of(rows, "device"),
            "dtype requested": listed_of(every, "dtype"),
            "dtype used": listed_of(rows, "dtype_given"),
        }

    def hosts(self, row: Text) -> Expected:
        rows = self.ok[self.ok["hostname"] == row["Machine"]]
        one = {
            "Processor": "cpu_model",
            "Device": "device",
            "Governor": "governor",
            "GPU driver": "driver",
        }
        first = {title: rows[name].dropna() for title, name in one.items()}
        return {
            **{title: each.iloc[0] if len(each) else None for title, each in first.items()},
            "Throttled": largest_of(rows, "cpu_throttled_periods"),
            "Rows": len(rows),
        }
