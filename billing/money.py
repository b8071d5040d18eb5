"""Money is an integer number of micro-dollars everywhere inside; USD only at the edges."""

from decimal import Decimal

MICROS_PER_USD = 1_000_000


def micros(usd: Decimal | str) -> int:
    """Micro-dollars of an amount in USD; raises ValueError for a fraction of one."""
    scaled = Decimal(usd) * MICROS_PER_USD
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{usd} USD is not a whole number of micro-dollars.")
    return int(scaled)


def usd(amount: int) -> float:
    """USD, as the JSON number that the API shows, of an amount in micro-dollars."""
    return amount / MICROS_PER_USD
