"""What the paper reports, as literal reference data to set beside our own figures.

Source: "Instruction Tuning for Fine-Tuning Precise Medical Language Models (MedLMs)", tables 3
and 4 and section 4. They were not measured here; the notes at the end
say why they cannot be compared one to one.
"""

from __future__ import annotations

from dataclasses import dataclass

from medsweep.models.catalog import PAPER_CELLS


@dataclass(frozen=True)
class PaperResult:
    """One row of the paper's table 4. The hardware it was measured on is not given.

    Attributes:
        model: name in the catalogue.
        exact_match_percent: column "Exact Match (%)".
        bleu_max: first half of column "BLEU / ROUGE (max)", 0 to 1.
        rouge_max: second half of the same, 0 to 1; which ROUGE is not given.
        f1_max: column "F1 Score (max)", 0 to 1.
        response_time_s: column "Inference Speed (s)", in seconds.
    """

    model: str
    exact_match_percent: float
    bleu_max: float
    rouge_max: float
    f1_max: float
    response_time_s: float


@dataclass(frozen=True)
class ResponseTimeRange:
    """A range of response times that the paper gives in words, about its figure 2.

    Attributes:
        subject: what it applies to.
        model: name in the catalogue; None if the paper names none.
        profile: hardware profile; None if it applies to all.
        low_s: lower end, in seconds.
        high_s: upper end, in seconds.
    """

    subject: str
    model: str | None
    profile: str | None
    low_s: float
    high_s: float


TABLE_3 = PAPER_CELLS

TABLE_4 = (
    PaperResult("llama-2-7b", 0.0, 0.058, 0.49, 0.21, 22.95),
    PaperResult("mistral-7b", 1.0, 0.069, 1.00, 0.28, 9.72),
    PaperResult("llama-3-8b", 81.34, 0.58, 0.54, 0.73, 63.66),
    PaperResult("gemma-1.1-7b", 76.45, 0.53, 0.50, 0.71, 44.32),
    PaperResult("distilgpt2", 46.92, 0.25, 0.21, 0.62, 7.03),
)

COUNTS_NGRAMS = ("llama-3-8b", "gemma-1.1-7b", "distilgpt2")
"""Models whose "exact match" the paper's text explains as n-grams that match (about figure 3)."""

RESPONSE_TIME_RANGES = (
    ResponseTimeRange("RTX 8000 with 4 CPUs, the lowest", None, "2xrtx8000-4cpu", 9.0, 11.0),
    ResponseTimeRange("DistilGPT2 on all hardware, the longest", "distilgpt2", None, 15.0, 25.0),
)

KNOWN_INCONSISTENCIES = (
    "One column seems to mix two definitions: its heading is exact match, but for Llama 3, Gemma "
    "and DistilGPT2 the text says that accuracy counts matching n-grams, while 0 % and 1 % for "
    "Llama 2 and Mistral look like whole answers that match exactly.",
    "Exact match of whole answers and F1 exclude each other here: one such match makes the "
    "highest F1 equal to 1, yet 1 % to 81 % exact match stands beside a highest F1 of 0.28 to "
    "0.73.",
    "BLEU, ROUGE and F1 are the best single answer rather than the mean, so Mistral's ROUGE of "
    "1.00 may be one answer; which ROUGE is not stated, and percentages stand beside fractions.",
    "Table 4 has DistilGPT2 as the fastest model at 7.03 s; the text calls it the slowest on "
    "every configuration, at 15 to 25 s.",
    "The only models on 4 CPUs with 2 RTX 8000 are DistilGPT2 and Gemma, and the text gives 9 "
    "to 11 s there; neither 15 to 25 s for DistilGPT2 nor Gemma's 44.32 s in table 4 agrees.",
    "The A100 is reported slower than the V100, with a guess for a reason and no measurement of "
    "it; Gemma is the only model that ran on both.",
    "The RTX 8000's lead is attributed to memory bandwidth, the lowest of the three types.",
    "Learning is said to level off after 5 to 7 epochs in one place and around epoch 15 in "
    "another.",
    "Response times are averages over an unstated number of trials; there are no independent "
    "repeats and no intervals, so no difference can be distinguished from chance.",
    "Five models are compared, but tables 2 and 3 run three of them on the nine machines; Llama 2 "
    "and Mistral have results in table 4 only, which does not say which machine any of its rows "
    "was measured on.",
    "A machine with 4 CPUs always has 2 GPUs, so that what is said about more CPUs (diminishing "
    "returns beyond 2) cannot be told from a second GPU.",
    "DistilGPT2 is said to be slowest on all hardware, but it ran on no A100.",
    "For Llama 3, Gemma and DistilGPT2 the highest BLEU (0.58, 0.53, 0.25) is above the highest "
    "ROUGE (0.54, 0.50, 0.21), though BLEU, a precision over up to four words, is seldom above "
    "ROUGE-1 or ROUGE-L of one answer.",
    "Mistral's highest ROUGE of 1.00 stands beside a highest F1 of 0.28: an answer with all of its "
    "reference's words in their order has an F1 of 1, unless ROUGE is a recall of a much longer "
    "answer.",
)
