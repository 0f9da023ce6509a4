"""From a scenario to jobs: units of work for one worker process each."""
