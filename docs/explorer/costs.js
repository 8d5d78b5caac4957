"use strict";

// Formulas of minidecilm.costs. What stands in the page's JSON comes from there too; tests/browser compares the
// results with the library's.
const kvExplorer = (() => {
  const sum = (values) => values.reduce((total, value) => total + value, 0);

  /** Least time of each operation of a decode step: costs.operation_times with one new token. */
  function operationTimes(model, device, { weights, cache, context, batch }) {
    const work = model.weights[weights].products.map((product) => ({ ...product, flops: batch * product.flops }));
    work.splice(2, 0, {
      operation: "attention",
      dtype: cache,
      bytes: batch * context * sum(model.cache_bytes[cache]),
      flops: batch * context * model.attention_flops,
    });
    return work.map(({ operation, dtype, bytes, flops }) => {
      const reading = bytes / device.bytes_per_second;
      const computing = flops / device.flops_per_second[dtype];
      const limit = reading >= computing ? "memory" : "arithmetic";
      return { operation, limit, seconds: Math.max(reading, computing) };
    });
  }

  /** Everything the page says of one model; names are those of minidecilm.costs where it has one. */
  function costs(model, device, choice) {
    const perToken = sum(model.cache_bytes[choice.cache]);
    const weightBytes = model.weights[choice.weights].bytes;
    const cacheBytes = choice.batch * choice.context * perToken;
    const rowsOf = (tokens) => Math.max(0, Math.floor((choice.memory - weightBytes) / (tokens * perToken)));
    const rate = (batch) => batch / sum(operationTimes(model, device, { ...choice, batch }).map((t) => t.seconds));
    const times = operationTimes(model, device, choice);
    const seconds = sum(times.map((time) => time.seconds));
    const reading = sum(times.filter((time) => time.limit === "memory").map((time) => time.seconds)) / seconds;
    const largestBatch = rowsOf(choice.context);
    return {
      weight_bytes: weightBytes,
      kv_cache_bytes: cacheBytes,
      total_bytes: weightBytes + cacheBytes,
      fits: weightBytes + cacheBytes <= choice.memory,
      kv_cache_bytes_per_token: perToken,
      largest_batch: largestBatch,
      largest_context: rowsOf(choice.batch),
      decode_tokens_per_second: choice.batch / seconds,
      limit: reading >= 0.5 ? "memory" : "arithmetic",
      limited_share: Math.max(reading, 1 - reading),
      tokens_per_second_at_largest_batch: largestBatch ? rate(largestBatch) : 0,
      times,
      rate,
    };
  }

  return { costs, operationTimes };
})();
