"""Continuous models of the optimizers: first order, classic second order, the papers' new one, its flip, the principal flow; with memory,
underdamped ones too."""

from stablestep.sde.continuous import Continuous
from stablestep.sde.loss import loss_process
from stablestep.sde.model import Model, model
from stablestep.sde.solve import integrate
from stablestep.sde.underdamped import Underdamped

__all__ = ["Continuous", "Model", "Underdamped", "integrate", "loss_process", "model"]
