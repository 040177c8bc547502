"""The questions of the ablation, and the methods that answer each; `none` and `rdrop` stand beside all of them."""

from __future__ import annotations

from ssl_pdr.divergences import get_divergence

CONTROLS = ("none", "rdrop:kl")
# What every method has unless its name says otherwise, written out: a preset may change, these cells do not.
BASE = {
    "site": "output",
    "dropout": "independent",
    "radius": "0.1",
    "radius_unit": "token_norm",
    "search": "exact",
    "target_grad": "auto",
    "alpha": "1",
}
DROPOUT = ("independent", "shared", "off")
# As shares of the mean token norm, and as the absolute sizes that published code uses (a token is about 9 long).
RADII = ("1e-3,radius_unit=absolute", "1e-2,radius_unit=absolute", "0.1,radius_unit=absolute", "0.1", "0.3", "1")
# Noise as large as the tokens.
RANDOM, ADVERSARIAL = "rpt:kl,alpha=4,radius=1", "vat:kl,radius=1"
DIVERGENCES = ("kl", "reverse_kl", "shl", "jsd", "jeffreys", "chi2")
ALPHAS = (0.1, 1, 4, 10)


def matched_alpha(divergence: str) -> float:
    """The α whose second-order form is that of KL at α = 1 (Eq. 7): α · g''(1) = 1.

    Example:
        >>> matched_alpha("shl"), matched_alpha("jeffreys")
        (4.0, 0.5)
    """
    curvature = get_divergence(divergence).curvature
    assert curvature is not None  # all of DIVERGENCES are smooth
    return 1 / curvature


def _with(method: str, **settings: str | float) -> str:
    """The name of a method with settings, those left out that it has anyway."""
    said = {key: value if isinstance(value, str) else f"{value:g}" for key, value in settings.items()}
    return ",".join([method, *(f"{key}={value}" for key, value in said.items() if value != BASE.get(key))])


QUESTIONS: dict[str, tuple[str, ...]] = {
    "noise or dropout": tuple(
        _with(f"{reg}:kl", dropout=dropout, radius=radius)
        for dropout in DROPOUT
        for reg in ("rpt", "vat")
        for radius in RADII
    ),
    "site": tuple(_with(f"{reg}:kl", site=site) for reg in ("rpt", "vat") for site in ("output", "sum", "word")),
    "weight": tuple(_with(f"{reg}:kl", alpha=alpha) for reg in ("rdrop", "rpt", "vat") for alpha in ALPHAS),
    "large noise": (
        *(_with("rpt:kl", alpha=alpha, radius="1") for alpha in (1, 4, 10)),
        *(_with("rpt:kl", alpha=4, radius=radius) for radius in ("0.5", "2")),
        *(_with("vat:kl", alpha=alpha, radius="1") for alpha in (1, 4)),
        _with("vat:kl", radius="2"),
        f"{RANDOM},dropout=shared",
        _with("vat:kl", dropout="shared", radius="1"),
        f"{RANDOM},target_grad=both",
        "rpt:shl,alpha=16,radius=1",
        *(_with("vat:shl", alpha=alpha, radius="1") for alpha in (1, 4)),
    ),
    "few labels, large noise": (
        *(f"{RANDOM},{way}" for way in ("ratio=0", "ratio=3", "align=0.97")),
        f"{ADVERSARIAL},align=0.97",
    ),
    "unlabelled rows": (f"{RANDOM},ratio=0", f"{RANDOM},ratio=3"),
    "small weight": tuple(_with(method, alpha=0.3) for method in ("rdrop:kl", "vat:kl", "vat:shl")),
    "divergence, equal weight": tuple(f"vat:{div}" for div in DIVERGENCES),
    "divergence, matched weight": tuple(
        _with(f"vat:{div}", alpha=f"{matched_alpha(div):g}") for div in DIVERGENCES if matched_alpha(div) != 1
    ),
    "learning rate": ("none,lr=2e-4", "none,lr=3e-4", "vat:kl,lr=3e-4"),
    "few labels": (
        *(_with("vat:kl", ratio=value) for value in (3.0, 7.0)),
        *(f"{method},align=0.97" for method in ("rdrop:kl", "rdrop:kl,alpha=4", "vat:kl", "vat:kl,alpha=4")),
    ),
}


def methods(questions: tuple[str, ...] = tuple(QUESTIONS)) -> tuple[str, ...]:
    """All methods of some questions, each once, the controls first."""
    return tuple(dict.fromkeys([*CONTROLS, *(method for question in questions for method in QUESTIONS[question])]))
