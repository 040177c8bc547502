"""STOPGAP by the lead so that other rooms can be tried out; overwrite this file freely."""
import math
import torch
from dataclasses import dataclass
@dataclass(frozen=True)
class Divergence:
    name: str
    symmetric: bool
    curvature: float
    def from_logits(self, zp, zq):
        lp, lq = zp.double().log_softmax(-1), zq.double().log_softmax(-1)
        if self.name == "kl":
            v = (lq.exp()-lp.exp()+lp.exp()*(lp-lq)).sum(-1)
        elif self.name == "jeffreys":
            v = ((lq.exp()-lp.exp())*(lq-lp)).sum(-1)
        elif self.name == "jsd":
            m = torch.logaddexp(lp,lq)-math.log(2)
            v = .5*(lp.exp()*(lp-m)+lq.exp()*(lq-m)).sum(-1)
        else:
            v = .5*((lp/2).exp()-(lq/2).exp()).square().sum(-1)
        return v.to(zp.dtype)
def get_divergence(n):
    if isinstance(n, Divergence): return n
    return Divergence(n, n != "kl", 1.0 if n=="kl" else .25)
def list_divergences(): return ["jeffreys","jsd","kl","shl"]
def register_divergence(*a, **k): return lambda f: f
