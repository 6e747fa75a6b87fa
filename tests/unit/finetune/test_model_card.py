import yaml

from medsweep.finetune.model_card import model_card

CARD = {"model": "llama-3-8b", "template": "llama-3", "stop_tokens": ("<|eot_id|>",)}
EPOCHS = [
    {"epoch": 0, "eval_loss": 3.25, "token_f1": 0.1, "corpus_bleu": None},
    {"epoch": 1, "eval_loss": 1.5, "token_f1": 0.34567, "corpus_bleu": None},
]
PROVENANCE = {
    "model": {"hub_id": "meta-llama/Meta-Llama-3-8B-Instruct", "licence": "llama3"},
    "revision": "5f0b02c7",
    "train_pairs": 1900,
    "evaluation_pairs": 100,
    "dataset": "2000 pairs of 2040 rows; dropped 40 empty (first: line 7)",
    "dataset_sources": [
        {"from": "lavita/MedQuAD", "revision": "abc123", "licence": "CC-BY-4.0"},
        {"from": "mine.csv", "revision": None, "licence": None},
    ],
    "dataset_sha256": "d" * 64,
    "recipe": {"rank": 16, "targets": ("q_proj", "v_proj")},
    "recipe_sha256": "e" * 64,
    "code_sha256": "c" * 64,
}


def test_everything_a_reader_needs_is_there() -> None:
    text = model_card(CARD, EPOCHS, PROVENANCE)
    front = yaml.safe_load(text.split("---")[1])
    assert front["base_model"] == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert front["library_name"] == "peft"
    assert front["license"] == "llama3"
    for needed in (
        "**Not medical advice.**",
        "revision `5f0b02c7`",
        "`llama-3`, in `chat_template.jinja`",
        "`<|eot_id|>`",
        "1900 training pairs and 100 evaluation questions",
        "dropped 40 empty",
        "- lavita/MedQuAD at `abc123`, licence CC-BY-4.0",
        "- mine.csv\n",
        "| rank | 16 |",
        "| targets | q_proj, v_proj |",
        "| epoch | eval_loss | token_f1 |",
        "| 1 | 1.5 | 0.3457 |",
        f"| dataset_sha256 | {'d' * 64} |",
        f"| recipe_sha256 | {'e' * 64} |",
        f"| code_sha256 | {'c' * 64} |",
    ):
        assert needed in text, needed
    assert "corpus_bleu" not in text
    assert "stand-in" not in text


def test_a_stand_in_is_never_shown_as_the_model() -> None:
    model = {"hub_id": None, "licence": "Apache-2.0", "stands_in_for": "llama-3-8b"}
    text = model_card(
        {**CARD, "model": "standin-llama-3-8b"}, EPOCHS, {**PROVENANCE, "model": model}
    )
    assert "tiny stand-in with the architecture of llama-3-8b" in text
    assert yaml.safe_load(text.split("---")[1])["base_model"] == "standin-llama-3-8b"
