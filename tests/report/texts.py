"""Losses of texts as they might be: four languages, the base, and each language's graft."""

from __future__ import annotations

from polygraft.evaluate.language_loss import BASE, LanguageLoss, TextFacts, TextLosses

LANGUAGES = ("en", "qu", "hau", "yor")
OWN = {"en": 0.125, "qu": 0.75, "hau": 0.5, "yor": -0.25}
"""What each language's own graft gains."""


def make_loss(language: str, of: str, *, gain: float, half: float = 0.0625) -> LanguageLoss:
    """Make one loss; the base's is 3."""
    is_base = of == BASE
    return LanguageLoss(
        language=language,
        of=of,
        plan=of,
        loss=3.0 - gain,
        low=2.9 - gain,
        high=3.1 - gain,
        perplexity=20.0,
        gain=gain,
        gain_low=gain if is_base else gain - half,
        gain_high=gain if is_base else gain + half,
        num_targets=400,
        num_rows=120,
    )


def make_losses() -> TextLosses:
    """Make the losses of all: another language's graft loses half a nat, but Hausa's is the best on Yoruba."""
    losses: list[LanguageLoss] = []
    for language in LANGUAGES:
        losses.append(make_loss(language, BASE, gain=0.0))
        losses += [
            make_loss(
                language,
                of,
                gain=OWN[language] if of == language else 0.25 if (of, language) == ("hau", "yor") else -0.5,
            )
            for of in LANGUAGES
        ]
    sizes = {"en": 900_000, "qu": 20_000, "hau": 40_000, "yor": 700_000}
    texts = tuple(
        TextFacts(
            language=language,
            graft=language,
            num_tokens=size,
            num_seen=1_000_000,
            tokens_per_word=1.25 + place / 4,
            single_share=0.125,
            unknown_share=0.0,
        )
        for place, (language, size) in enumerate(sizes.items())
    )
    return TextLosses(method="", seed=3, losses=tuple(losses), texts=texts)
