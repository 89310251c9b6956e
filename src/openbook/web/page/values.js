/** What both kinds of data share: how numbers and addresses are written. */

/**
 * The address of a view, the same for the same parameters in any order.
 * @param {string} name
 * @param {Object<string, string | number>} parameters
 */
export function viewKey(name, parameters, prefix = "") {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  const query = new URLSearchParams(given.map(([key, value]) => [key, String(value)]));
  query.sort();
  return `${prefix}${name}${given.length ? `?${query}` : ""}`;
}

const NOT_FINITE = { NaN, Infinity, "-Infinity": -Infinity };

/**
 * JSON has no NaN and no infinities: such a number is {"number": "NaN"}.
 * @param {any} value of JSON
 */
export function revive(value) {
  if (Array.isArray(value)) return value.map(revive);
  if (value && typeof value === "object") {
    if (typeof value.number === "string" && value.number in NOT_FINITE) return NOT_FINITE[value.number];
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, revive(each)]));
  }
  return value;
}
