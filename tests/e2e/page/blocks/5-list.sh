openclaw models list
