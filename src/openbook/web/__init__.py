"""Pages in the browser: the server behind `openbook explain`, its guard, and the page's own files in `page/`."""
