"""The menus of `configure` and `onboard`: sections that ask, and write when the last of their questions is answered."""
