"""Works through an archive of recordings: see docs/archive.md.

`sources` finds the recordings, `plan` cuts them into numbered parts and knows which are done,
`parts` writes the rows of one part, and `local` and `on_ray` are the engines that recognise them.
"""
