"""The review page: `session` is what a reviewer can do with a run, `views` what a browser is sent, `app` the requests,
`jobs` the threads that do the work, `server` what serves it all, `browser` what opens it."""
