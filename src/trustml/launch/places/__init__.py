"""Where the workers of jobs are started: this machine, Slurm, Ray, or anything that commands drive."""
