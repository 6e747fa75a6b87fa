from medsweep.finetune.evaluate import within


def test_groups_hold_at_most_so_many_tokens_padding_included() -> None:
    words = ["aa", "aaaa", "a", "aaaaaaa", "aaa", "aa"]
    assert list(within(words, len, 8)) == [["aa", "aaaa"], ["a"], ["aaaaaaa"], ["aaa", "aa"]]
    assert list(within(words, len, 1)) == [[word] for word in words]
    assert list(within(words, len, 100)) == [words]
    assert [len(group) for group in within(words, len, 100, most=4)] == [4, 2]
    assert list(within([], len, 8)) == []
