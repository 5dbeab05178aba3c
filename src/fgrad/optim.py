"""`torch.optim.SGD`, composed from optax's parts."""

import jax
import jax.numpy as jnp
import optax

from fgrad import _checks


def sgd(
    lr: optax.ScalarOrSchedule = 1e-3,
    momentum: float = 0,
    dampening: float = 0,
    weight_decay: float = 0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
) -> optax.GradientTransformation:
    r"""Return stochastic gradient descent, with `torch.optim.SGD`'s arguments and results.

    $$g_t = \pm \nabla_\theta L(\theta_{t-1}) + \lambda \theta_{t-1}, \qquad
      b_t = \mu b_{t-1} + (1 - \tau) g_t, \quad b_1 = g_1, \qquad
      \theta_t = \theta_{t-1} - \gamma_t b_t$$

    The sign is minus to maximize. Nesterov's step is $g_t + \mu b_t$ in place of $b_t$; without
    momentum it is $g_t$, and there is no $b$. The results are PyTorch's up to rounding; where the
    last bit counts, `strict.sgd` is plain SGD with PyTorch's own rounding.

    Args:
        lr: The learning rate $\gamma$: a number, which may be traced (`jax.vmap` over it trains
            with many at once), or an optax schedule, called with the number of steps made.
        momentum: $\mu$.
        dampening: $\tau$; the first step is not dampened, and without momentum none is.
        weight_decay: $\lambda$.
        nesterov: Whether to look ahead; it takes a momentum and no dampening.
        maximize: Whether to climb instead of descend.

    Returns:
        An optax transformation; its `update` takes the parameters where `weight_decay` is used.
        Groups of parameters with options of their own are optax's `partition`.

    Raises:
        ValueError: If an argument is no finite scalar, or traced other than `lr`; if `lr`,
            `momentum` or `weight_decay` is negative; or if `nesterov` comes without a momentum or
            with dampening.

    Example:
        >>> import jax.numpy as jnp
        >>> optimizer = sgd(lr=0.1, momentum=0.9)
        >>> params = {"weight": jnp.array(1.0), "bias": jnp.array(0.0)}
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> print(optax.apply_updates(params, updates)["weight"])
        0.9

        Two groups: no weight decay on biases, and a schedule for the weights.

        >>> groups = {
        ...     "weights": sgd(optax.exponential_decay(0.1, 100, 0.5), weight_decay=5e-4),
        ...     "biases": sgd(lr=0.2),
        ... }
        >>> optimizer = optax.partition(groups, {"weight": "weights", "bias": "biases"})
        >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
        >>> print(updates["weight"], updates["bias"])
        -0.100049995 -0.0

    Source: `torch.optim.SGD`.
    """
    if isinstance(lr, jax.core.Tracer):
        if lr.ndim:
            raise ValueError(f"lr: expected a scalar, got shape {lr.shape}")
    elif not callable(lr):
        _checks.not_negative("lr", lr)
    momentum = _checks.not_negative("momentum", momentum)
    dampening = _checks.finite("dampening", dampening)
    weight_decay = _checks.not_negative("weight_decay", weight_decay)
    if nesterov and (momentum == 0 or dampening != 0):
        raise ValueError(
            "nesterov: expected a momentum above 0 and a dampening of 0, got "
            f"momentum={momentum}, dampening={dampening}"
        )
    parts = []
    if maximize:
        parts.append(optax.scale(-1.0))
    if weight_decay:
        parts.append(optax.add_decayed_weights(weight_decay))
    if momentum:
        if dampening:
            parts.append(optax.scale_by_schedule(_undampened_first(dampening)))
        parts.append(optax.trace(momentum, nesterov=nesterov))
    # As a schedule, a constant too: optax then takes it in each parameter's own dtype.
    parts.append(optax.scale_by_schedule(_downhill(lr)))
    return optax.chain(*parts)


def _downhill(lr: optax.ScalarOrSchedule) -> optax.Schedule:
    return lambda count: -jnp.asarray(lr(count) if callable(lr) else lr)


def _undampened_first(dampening: float) -> optax.Schedule:
    return lambda count: jnp.where(count == 0, 1.0, 1.0 - dampening)
