"""Linear attention: a product of features in place of the exponential. Katharopoulos et al. 2020.

    phi(x) = elu(x) + 1
    y_t = phi(q_t)^T sum_s phi(k_s) v_s^T / phi(q_t)^T sum_s phi(k_s)              over s <= t where causal

"Transformers are RNNs: fast autoregressive transformers with linear attention", equations 5 to 9. As in the paper,
queries are not divided by sqrt(K): no exponential has to be kept from saturating.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heed.attention.facts import Facts
from heed.attention.mechanism import Path
from heed.attention.mechanisms.features import EluPlusOne
from heed.attention.mechanisms.kernel import KernelAttention
from heed.attention.shape import Shape

if TYPE_CHECKING:
    from heed.attention.scores import Score


class LinearAttention(KernelAttention):
    """Mixes values by elu(x) + 1 of queries and keys, in time that grows with T and not with its square."""

    facts = Facts(
        equation="phi(Q) phi(K)^T V, rows divided by their sum, phi(x) = elu(x) + 1",
        source="Katharopoulos et al. 2020, Transformers are RNNs",
        causal="exact",
        differentiable="all",
        masks=frozenset({"causal", "padding"}),
        positions=frozenset({"none", "learned", "sinusoidal"}),
        time="T K D",
        memory="T D",
        growth=(1, 1),
        cache="state",
        grouped=True,
        weights=False,
        scores=frozenset(),
    )
    name = "linear"

    def __init__(self, shape: Shape, *, path: Path = "auto", dropout: float = 0.0, score: Score | None = None) -> None:
        super().__init__(shape, path=path, dropout=dropout, score=score)
        self.n_features = shape.width

    def feature_map(self) -> EluPlusOne:
        """Return elu(x) + 1."""
        return EluPlusOne()
