/**
 * Power with which `values` grow with `sizes`: the slope of the least-squares line through the points on doubly
 * logarithmic axes, so that time = c size^slope. Both must be positive. NaN if all sizes are equal.
 */
export function growthPower(sizes: readonly number[], values: readonly number[]): number {
  const x = sizes.map(Math.log);
  const y = values.map(Math.log);
  const mean = (of: readonly number[]) => of.reduce((sum, value) => sum + value, 0) / of.length;
  const [meanX, meanY] = [mean(x), mean(y)];
  const covariance = x.reduce((sum, value, i) => sum + (value - meanX) * (y[i] - meanY), 0);
  return covariance / x.reduce((sum, value) => sum + (value - meanX) ** 2, 0);
}
