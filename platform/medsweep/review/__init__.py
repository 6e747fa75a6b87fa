"""Review of answers by clinicians: a page to rate them on, and what the ratings say."""
