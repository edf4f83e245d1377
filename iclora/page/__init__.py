"""The review page: `session` is what a reviewer can do with a run, `views` how it is told, `app` how a browser asks."""
