"""Works through an archive of recordings: see docs/archive.md.

`sources` finds the recordings, `plan` cuts them into numbered parts, `job` recognises a part and
makes its files, `local` and `on_ray` are the engines that do so for many, and `results` knows which
parts are done and complete.
"""
