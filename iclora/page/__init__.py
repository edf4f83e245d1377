"""The review page: `session` is what a reviewer can do with a run, `views` what a browser is sent, `app` the server."""
