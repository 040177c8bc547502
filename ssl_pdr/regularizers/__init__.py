"""The regularizers R: random and adversarial perturbation, R-Drop, and the Jacobian norm; one value per row."""

from ssl_pdr.regularizers.adversarial import AdversarialTraining
from ssl_pdr.regularizers.base import (
    CleanPass,
    Regularizer,
    get_regularizer,
    list_regularizers,
    register_regularizer,
)
from ssl_pdr.regularizers.jacobian import JacobianRegularizer, WeightedJacobianRegularizer
from ssl_pdr.regularizers.noise import RPT, DivergenceRegularizer, RDrop
from ssl_pdr.regularizers.virtual_adversarial import VAT

__all__ = [
    "RPT",
    "VAT",
    "AdversarialTraining",
    "CleanPass",
    "DivergenceRegularizer",
    "JacobianRegularizer",
    "RDrop",
    "Regularizer",
    "WeightedJacobianRegularizer",
    "get_regularizer",
    "list_regularizers",
    "register_regularizer",
]
