"""How fast a model runs here, beside what the machine allows: what `minidecilm bench` does.

>>> import minidecilm
>>> from minidecilm import bench
>>> model = minidecilm.load("demo").model
>>> measurement = bench.measure(model, bench.Plan(prompt_tokens=8, new_tokens=2, batch_sizes=(1,), rounds=1))
>>> facts = bench.report(model, measurement, bench.Limits(read_bandwidth=1e10, peak=1e11))
>>> facts["parameters"], facts["weights"], facts["weight_bytes_per_step"]
(1652864, 'bfloat16', 2777088)
"""

from minidecilm.bench.limits import Limits as Limits
from minidecilm.bench.limits import arithmetic_of as arithmetic_of
from minidecilm.bench.limits import probe as probe
from minidecilm.bench.limits import threads_of as threads_of
from minidecilm.bench.plan import Plan as Plan
from minidecilm.bench.plan import first_layers as first_layers
from minidecilm.bench.plan import random_model as random_model
from minidecilm.bench.rates import report as report
from minidecilm.bench.timing import measure as measure
