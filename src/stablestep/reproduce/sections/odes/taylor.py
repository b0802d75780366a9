"""The expansions of P A.3 and A.4, by computer algebra."""

import sympy

from stablestep.claim import Check, Claim


def expansions() -> Claim:
    """Both sides of P A.3-A.4 as polynomials in symbols for f', f'', …; the measured number is how many terms differ."""
    f = sympy.symbols("f1:6")  # f', f'', f''', f'''', f'''''
    alpha, beta, eta = sympy.symbols("alpha beta eta")

    def derivative(expression):
        return sympy.expand(sum(sympy.diff(expression, f[i]) * f[i + 1] for i in range(4)))

    speed = -f[0] + alpha * f[0] * f[1]
    second = sympy.expand(derivative(speed) * speed)
    third = sympy.expand(derivative(second) * speed)
    along = eta * speed + eta**2 / 2 * second + eta**3 / 6 * third
    cubic = derivative(derivative(speed)) * speed**2 + derivative(speed) ** 2 * speed
    printed = eta * speed + eta**2 / 2 * (
        f[0] * f[1]
        - alpha * (f[0] ** 2 * f[2] + 2 * f[0] * f[1] ** 2)
        + alpha**2 * (f[0] ** 2 * f[1] * f[2] + f[0] * f[1] ** 3)
    )
    printed += eta**3 / 6 * _printed_cubic(f, alpha)
    in_beta = -eta * f[0] + eta**2 * (beta + sympy.Rational(1, 2)) * f[0] * f[1]
    in_beta -= eta**3 / 6 * ((3 * beta + 1) * f[0] ** 2 * f[2] + (6 * beta + 1) * f[0] * f[1] ** 2)
    truncated = sympy.Add(*(sympy.expand(along.subs(alpha, beta * eta)).coeff(eta, k) * eta**k for k in range(4)))
    checks = [
        _same(third, cubic, "x''' = F''F² + (F')²F"),
        _same(along, printed, "the long expansion in α"),
        _same(truncated, in_beta, "the expansion for α = βη"),
    ]
    cases = {
        0: (sympy.Rational(-1, 6), sympy.Rational(-1, 6)),
        -1: (sympy.Rational(1, 12), sympy.Rational(1, 3)),
        1: (-sympy.Rational(5, 12), -sympy.Rational(2, 3)),
    }
    for twice, (left, right) in cases.items():
        value = sympy.Rational(twice, 2)
        special = (
            -eta * f[0]
            + eta**2 * (value + sympy.Rational(1, 2)) * f[0] * f[1]
            + eta**3 * (left * f[0] ** 2 * f[2] + right * f[0] * f[1] ** 2)
        )
        checks.append(_same(truncated.subs(beta, value), special, f"the special case β = {value}"))
    return Claim(
        "ode.taylor",
        "P A.3, A.4",
        "Expansions of x(t+η) for α = βη, β in {0, −½, +½}.",
        tuple(checks),
        detail="Computer algebra; the number is how many terms of the two sides differ.",
    )


def _printed_cubic(f, alpha):
    first = -(f[0] ** 2 * f[2] + f[0] * f[1] ** 2)
    linear = f[0] ** 3 * f[3] + 7 * f[0] ** 2 * f[1] * f[2] + 3 * f[0] * f[1] ** 3
    square = (
        2 * f[0] ** 3 * f[1] * f[3] + f[0] ** 3 * f[2] ** 2 + 11 * f[0] ** 2 * f[1] ** 2 * f[2] + 3 * f[0] * f[1] ** 4
    )
    cube = (
        f[0] ** 3 * f[1] ** 2 * f[3]
        + f[0] ** 3 * f[1] * f[2] ** 2
        + 5 * f[0] ** 2 * f[1] ** 3 * f[2]
        + f[0] * f[1] ** 5
    )
    return first + alpha * linear - alpha**2 * square + alpha**3 * cube


def _same(left, right, label: str) -> Check:
    difference = sympy.expand(left - right)
    count = 0 if difference == 0 else len(sympy.Add.make_args(difference))
    return Check(float(count), 0.0, 0.0, "=", label=label)
