"""What types an operand or result may have, as small composable predicates with a description."""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen

from nvdla_ir.ir.types import FloatType, IntegerType, TensorType, Type


@frozen(eq=False)
class TypeConstraint:
    """``description`` completes the sentence "operand must be …"."""

    description: str
    predicate: Callable[[Type], bool]
    # Types repeat endlessly in a module; each is judged once.
    _verdicts: dict[Type, bool] = field(factory=dict[Type, bool], repr=False)

    def accepts(self, type: Type) -> bool:
        verdict = self._verdicts.get(type)
        if verdict is None:
            verdict = self._verdicts[type] = self.predicate(type)
        return verdict

    def __or__(self, other: TypeConstraint) -> TypeConstraint:
        return TypeConstraint(
            f"{self.description} or {other.description}",
            lambda type: self.predicate(type) or other.predicate(type),
        )


def tensor_of(description: str, predicate: Callable[[Type], bool]) -> TypeConstraint:
    """A tensor whose element type satisfies ``predicate``."""
    return TypeConstraint(
        f"a tensor of {description}",
        lambda type: isinstance(type, TensorType) and predicate(type.element),
    )


ANY = TypeConstraint("any type", lambda type: True)
ANY_TENSOR = TypeConstraint("a tensor", lambda type: isinstance(type, TensorType))
FLOAT_TENSOR = tensor_of("floats", lambda element: isinstance(element, FloatType))
INTEGER_TENSOR = tensor_of("integers", lambda element: isinstance(element, IntegerType))
