/** Small things that the browser remembers, or where it refuses to, this page alone. */

/** @param {() => Storage} place */
function memory(place) {
  /** @type {Map<string, string>} */
  const own = new Map();
  return {
    /** @param {string} name */
    get: (name) => {
      try {
        return place().getItem(name) ?? "";
      } catch {
        return own.get(name) ?? "";
      }
    },
    /** @param {string} name @param {string} value */
    set: (name, value) => {
      own.set(name, value);
      try {
        if (value) place().setItem(name, value);
        else place().removeItem(name);
      } catch {
        // what the browser refuses to keep lasts as long as the page
      }
    },
  };
}

/** Until the tab is closed. */
export const inThisTab = memory(() => sessionStorage);
/** For good. */
export const inThisBrowser = memory(() => localStorage);
