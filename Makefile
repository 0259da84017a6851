# The documentation. It needs pip install -e '.[docs]'.
.PHONY: docs notebooks

docs:  ## build the site, offline; a warning is an error
	sphinx-build -W --keep-going -j 2 -q docs docs/_build/html

notebooks:  ## run the long notebooks and keep their outputs
	python docs/_ext/kept_notebooks.py
