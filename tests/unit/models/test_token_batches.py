from medsweep.models.token_batches import token_batches


def test_groups_hold_at_most_the_given_tokens_padding_included() -> None:
    words = ["aa", "aaaa", "a", "aaaaaaa", "aaa", "aa"]
    assert list(token_batches(words, len, 8)) == [["aa", "aaaa"], ["a"], ["aaaaaaa"], ["aaa", "aa"]]
    assert list(token_batches(words, len, 1)) == [[word] for word in words]
    assert list(token_batches(words, len, 100)) == [words]
    assert [len(group) for group in token_batches(words, len, 100, most=4)] == [4, 2]
    assert list(token_batches([], len, 8)) == []
