// The filters of an answer, as the page's address has them.

const FILTERS = ["k", "by", "genre", "platform", "year_from", "year_to", "min_percentile", "palette", "exclude_author", "exclude_same_author", "exclude_title", "liked", "disliked", "panel", "panels", "with", "weights", "subject", "text"];
const MANY = new Set(["genre", "platform", "exclude_author", "exclude_title", "liked", "disliked", "panel", "with"]);

export function filtersOf(params) {
  const found = {};
  for (const name of FILTERS) {
    const values = params.getAll(name).filter(Boolean);
    if (values.length) found[name] = MANY.has(name) ? values : values[0];
  }
  return found;
}
