"""benchmarks/: goals, rounds, and what pages say of them."""

from tests.mutations import Mutation

GOALS, RUNNER = "benchmarks/peers/goals.py", "benchmarks/peers/runner.py"
TABLES, COMMON = "benchmarks/tables.py", "benchmarks/common.py"
TESTS = "tests/benchmarks/test_peers.py"

MUTATIONS = [
    Mutation(GOALS, "else max(least_seconds(", "else min(least_seconds(", TESTS),
    Mutation(GOALS, "key=median)", "key=min)", TESTS),
    Mutation(GOALS, 'return not name.startswith("minidecilm")', "return True", TESTS),
    Mutation(GOALS, "not _VNNI.isdisjoint(flags)", "_VNNI <= set(flags)", TESTS),
    Mutation(GOALS, "(streamed_bytes + race", "(race", TESTS),
    Mutation(GOALS, 'ratio["median"] >= wanted', 'ratio["max"] >= wanted', TESTS),
    Mutation(RUNNER, "< FAR_BEHIND * fastest", "> fastest", TESTS),
    Mutation(RUNNER, "np.linalg.norm(expected))", "np.linalg.norm(found))", TESTS),
    Mutation("benchmarks/peers/scenarios.py", "self.keys - self.queries).sum()", "0).sum()", TESTS),
    Mutation("benchmarks/limits.py", "2 * x.size * weight.shape[0]", "2 * x.size * weight.shape[1]", TESTS),
    Mutation("benchmarks/first_use.py", "all(both", "any(both", TESTS),
    Mutation(TABLES, "cpu_kind(one) == kind", "kind", TESTS),
    Mutation(COMMON, '("avx512_vnni", "avx512-vnni"', '("avx512_vnni", "avx512"', TESTS),
]
