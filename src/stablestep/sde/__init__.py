"""Continuous models of the optimizers: first order, classic second order, the papers' new one, its flip, and the principal flow."""

from stablestep.sde.loss import loss_process
from stablestep.sde.model import Model, model
from stablestep.sde.solve import integrate

__all__ = ["Model", "integrate", "loss_process", "model"]
