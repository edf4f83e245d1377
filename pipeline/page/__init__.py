"""The review page: `desk` is what a reviewer can do with a run, `views` how it is told, `app` how a browser asks."""
