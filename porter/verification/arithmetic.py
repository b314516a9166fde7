"""Float64 arithmetic that knows how far float32 may lie from it, and can be differentiated.

A layer that is written once with these `Number`s gives the truth, a bound on the rounding error of every element of
its output, and both again for its gradients. It is a running error analysis: N. J. Higham, Accuracy and Stability of
Numerical Algorithms, 2nd ed. (2002), section 3.3. What each operation adds is the model of section 2.2, u |result|;
for sums and inner products of n terms gamma_n (`porter.verification.roundings`) times the sum of absolute values, in
whatever order they are summed (sections 3.1 and 4.2), or less where the inner product is long. Parameters that were
rounded when they were stored (float16, bfloat16) bring that error along. Gradients are taken backwards through the
same operations; frameworks group those formulas otherwise, with the same terms, so that each operation here counts a
few roundings instead of one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from math import prod
from typing import TYPE_CHECKING, Any

from porter.verification.roundings import gamma, gamma_of_inner_product

if TYPE_CHECKING:
    from porter.verification.cases import Array

# Below this a framework may flush to zero; it is a few of float32's smallest normal numbers.
UNDERFLOW = 2.0**-124

# Roundings counted for an addition or a product: frameworks group formulas differently.
_ROUNDINGS = 2
# Roundings counted for an elementary function: vectorised libraries are within 4 units in the last place (SLEEF,
# which PyTorch uses, documents 1 and 3.5), and such a unit is at most 2 u.
ELEMENTARY = 8

Back = Callable[["Number"], "Number"]
_serials = count()


class Number:
    """An array of float64 values with the absolute error that float32 may have in each; same shapes.

    What a layer is given is exact, as a rule, and adds no error, which is then not computed.

    Args:
        value: float64.
        error: None for numbers that float32 has exactly.
        sources: the numbers it was made from, each with what turns the gradient of this one into theirs.
    """

    def __init__(self, value: Array, error: Array | None = None, sources: Sequence[tuple[Number, Back]] = ()) -> None:
        import numpy as np

        self.value = np.asarray(value, np.float64)
        self._error = None
        if error is not None and (largest := error.max(initial=0)) != 0:
            # An error of NaN comes of values that are not finite: they are not bounded.
            self._error = np.where(np.isnan(error), np.inf, error) if np.isnan(largest) else error
        self.exact = self._error is None
        self.sources = sources
        self.serial = next(_serials)

    @property
    def error(self) -> Array:
        import numpy as np

        return np.zeros_like(self.value) if self._error is None else self._error

    def __add__(self, other: Number | float) -> Number:
        right = _number(other)
        value = self.value + right.value
        error = gamma(_ROUNDINGS) * abs(value)
        for number in (self, right):
            if not number.exact:
                error += number.error
        return Number(value, error, ((self, self._shaped), (right, right._shaped)))

    def __sub__(self, other: Number | float) -> Number:
        return self + -_number(other)

    def __neg__(self) -> Number:
        return Number(-self.value, self._error, ((self, lambda g: -g),))

    def __mul__(self, other: Number | float) -> Number:
        right = _number(other)
        value = self.value * right.value
        error = gamma(_ROUNDINGS) * abs(value) + UNDERFLOW
        if not right.exact:
            error += (abs(self.value) + self.error) * right.error
        if not self.exact:
            error += self.error * abs(right.value)
        back = ((self, lambda g: self._shaped(g * right)), (right, lambda g: right._shaped(g * self)))
        return Number(value, error, back)

    def _shaped(self, gradient: Number) -> Number:
        """`gradient` summed over the axes that this number was repeated along."""
        shape = self.value.shape
        if gradient.value.shape == shape:
            return gradient
        extra = gradient.value.ndim - len(shape)
        axes = tuple(i for i, n in enumerate(gradient.value.shape) if i < extra or shape[i - extra] != n)
        return gradient.total(axes).at(lambda i: i.reshape(shape))

    def total(self, axes: tuple[int, ...]) -> Number:
        """Sum over `axes`, which stay with length 1."""
        terms = prod(self.value.shape[axis] for axis in axes)
        error = gamma(terms + 1) * abs(self.value).sum(axes, keepdims=True)
        if not self.exact:
            error += self.error.sum(axes, keepdims=True)
        back = ((self, lambda g: g.at(lambda i: _broadcast(i, self.value.shape))),)
        return Number(self.value.sum(axes, keepdims=True), error, back)

    def at(self, choose: Callable[[Any], Any]) -> Number:
        """The elements that `choose` picks from an array of all indices in this one's shape."""
        import numpy as np

        index = choose(np.arange(self.value.size).reshape(self.value.shape))
        sources = ((self, lambda g: g.put(index, self.value.shape)),)
        return Number(self.value.ravel()[index], None if self.exact else self.error.ravel()[index], sources)

    def put(self, index: Any, shape: tuple[int, ...]) -> Number:
        """The inverse of `at`: each element added to the one of `shape` it was picked from."""
        import numpy as np

        size, places = prod(shape), index.ravel()

        def add(values: Array) -> Array:
            added = np.bincount(places, values.ravel(), minlength=size)
            return added.reshape(shape).astype(np.float64)

        # One element is no sum and is not rounded.
        terms = int(np.bincount(places).max(initial=0))
        error = None if self.exact else add(self.error)
        if terms > 1:
            rounding = gamma(terms) * add(abs(self.value))
            error = rounding if error is None else error + rounding
        return Number(add(self.value), error, ((self, lambda g: g.at(lambda _: index)),))

    def function(
        self, f: Callable[[Array], Array], slope: Callable[[Number], Number], steepest: Any, off: Any = 0.0
    ) -> Number:
        """An elementary function.

        Args:
            slope: its derivative.
            steepest: the largest |derivative| within the error of each element.
            off: absolute error of the function itself, beyond a few roundings.
        """
        value = f(self.value)
        error = gamma(ELEMENTARY) * abs(value) + off + UNDERFLOW
        if not self.exact:
            error += steepest * self.error
        return Number(value, error, ((self, lambda g: g * slope(self)),))

    def blurred(self, more: Array) -> Number:
        """The same number with `more` error, for an algorithm that is worse than the one written here."""
        return Number(self.value, more if self.exact else self.error + more, ((self, lambda g: g),))


def einsum(spec: str, a: Number, b: Number) -> Number:
    """numpy's einsum of two operands; each index of one stands in the other or in the result."""
    import numpy as np

    left, right, result = spec.replace("->", ",").split(",")
    sizes = dict(zip(left + right, a.value.shape + b.value.shape, strict=True))
    terms = prod(size for index, size in sizes.items() if index not in result)

    def product(x: Array, y: Array) -> Array:
        summed: Array = np.einsum(spec, x, y, optimize=True)
        return summed

    size_a = abs(a.value)
    error = gamma_of_inner_product(terms + 1) * product(size_a, abs(b.value)) + UNDERFLOW * terms
    if not b.exact:
        error = error + product(size_a + a.error, b.error)
    if not a.exact:
        error = error + product(a.error, abs(b.value))
    back = (
        (a, lambda g: einsum(f"{result},{right}->{left}", g, b)),
        (b, lambda g: einsum(f"{left},{result}->{right}", a, g)),
    )
    return Number(product(a.value, b.value), error, back)


def joined(parts: Sequence[Number], axis: int) -> Number:
    """The parts one behind the other along `axis`."""
    import numpy as np

    sizes = [part.value.shape[axis] for part in parts]
    ends = np.cumsum(sizes)

    def back(start: int, end: int) -> Back:
        keep = tuple([slice(None)] * (axis % parts[0].value.ndim) + [slice(start, end)])
        return lambda g: g.at(lambda i: i[keep])

    sources = tuple((p, back(end - size, end)) for p, size, end in zip(parts, sizes, ends, strict=True))
    return Number(
        np.concatenate([p.value for p in parts], axis), np.concatenate([p.error for p in parts], axis), sources
    )


def gradients(output: Number, upstream: Array, wanted: Sequence[Number]) -> list[Number]:
    """The gradients of sum(output * upstream), each in the shape of its number."""
    import numpy as np

    made = _made_from(output)
    needed = {number.serial for number in wanted}
    for number in made:
        if any(source.serial in needed for source, _ in number.sources):
            needed.add(number.serial)
    found: dict[int, Number] = {output.serial: Number(upstream)}
    for number in reversed(made):
        if number.serial not in found:
            continue
        for source, back in number.sources:
            if source.serial in needed:
                part = back(found[number.serial])
                found[source.serial] = found[source.serial] + part if source.serial in found else part
    return [found.get(number.serial) or Number(np.zeros_like(number.value)) for number in wanted]


def reach(numbers: Sequence[Number]) -> float:
    """The largest absolute value that one of `numbers`, or of all that they were made from, may have in float32."""
    import numpy as np

    made = {number.serial: number for result in numbers for number in _made_from(result)}
    return max(float(np.nanmax(abs(number.value) + number.error, initial=0)) for number in made.values())


def _made_from(output: Number) -> list[Number]:
    """A number and all that it was made from, the earliest first."""
    found, waiting = {output.serial: output}, [output]
    while waiting:
        for source, _ in waiting.pop().sources:
            if source.serial not in found:
                found[source.serial] = source
                waiting.append(source)
    return [found[serial] for serial in sorted(found)]


def _number(value: Number | float) -> Number:
    return value if isinstance(value, Number) else Number(value)  # type: ignore[arg-type]


def _broadcast(index: Any, shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.broadcast_to(index, shape)
