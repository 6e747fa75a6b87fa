"""A classifier whose verdicts are known from its weights, which are set by hand, not learnt.

It averages the words of both texts. "not" in either makes a contradiction, "maybe" makes it
neutral, and everything else is entailed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

LABELS = ("contradiction", "entailment", "neutral")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "not", "maybe")
_SIZE = 8


def build_entailment(folder: Path, labels: Sequence[str] = LABELS, most_tokens: int = 64) -> Path:
    """Write the classifier and its tokenizer.

    Args:
        folder: where to.
        labels: of its outputs, in order; other names than those of LABELS have outputs of 0.
        most_tokens: that it reads at a time.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    ids = {word: place for place, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]"}
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, sep_token="[SEP]", model_max_length=most_tokens, **special
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=_SIZE,
        intermediate_size=_SIZE,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=most_tokens,
        id2label=dict(enumerate(labels)),
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(float("LayerNorm.weight" in name))
        bert, one = model.bert, torch.eye(_SIZE)
        bert.embeddings.word_embeddings.weight[ids["not"], 0] = 1.0
        bert.embeddings.word_embeddings.weight[ids["maybe"], 1] = 1.0
        # Queries and keys of 0 attend to all words alike.
        bert.encoder.layer[0].attention.self.value.weight.copy_(one)
        bert.encoder.layer[0].attention.output.dense.weight.copy_(one)
        bert.pooler.dense.weight.copy_(one)
        for place, label in enumerate(labels):
            kind = label.lower()
            if kind.startswith("entail"):
                model.classifier.bias[place] = 0.5
            elif kind in ("contradiction", "neutral"):
                model.classifier.weight[place, int(kind == "neutral")] = 1.0
    model.save_pretrained(folder)
    return folder
