<?php
/* no end